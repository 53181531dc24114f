// Package status owns the stable reasons that callers, nodes and tests tell errors apart by.
//
// It is a leaf: it imports nothing of ours, and knows neither Connect codes nor HTTP. Only rpc turns a Reason into a
// wire code, in one place. A Reason is part of the API: it is never renamed and never given another meaning.
package status
