package audit

import (
	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

// ToAPI returns an entry as the API shows it.
func ToAPI(f Found) *kavachv1.AuditEntry { return &kavachv1.AuditEntry{} }

// FilterFromAPI reads a filter of the API, which must be valid.
func FilterFromAPI(f *kavachv1.AuditFilter) Filter { return Filter{} }

