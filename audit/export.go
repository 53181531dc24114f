package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"
)

// Format says how an export is written.
type Format uint8

// The formats.
const (
	FormatCSV Format = iota + 1
	FormatJSONL
)

// ExportPage is how many entries an export holds at a time.
const ExportPage = 10_000

// Export writes all entries that match to w, oldest first, and returns how many, and the nodes whose entries may be
// missing. page returns a page for a query, as one confirmed read with the live answers asked for before does; what is
// written is what there was at the first one. Memory is bounded by ExportPage, not by the number of entries.
func Export(ctx context.Context, w io.Writer, format Format, filter Filter, page func(ctx context.Context, q Query) (*Page, error)) (n uint64, missing []string, err error) {
	enc, err := newEncoder(w, format)
	if err != nil {
		return 0, nil, err
	}
	q := Query{Filter: filter, OldestFirst: true, Limit: ExportPage}
	for {
		p, err := page(ctx, q)
		if err != nil {
			return n, missing, fmt.Errorf("export after %d entries: %w", n, err)
		}
		missing = append(missing, p.Missing...)
		for _, f := range p.Entries {
			if err := enc.write(f); err != nil {
				return n, missing, fmt.Errorf("export after %d entries: %w", n, err)
			}
			n++
		}
		if err := enc.out.Flush(); err != nil {
			return n, missing, fmt.Errorf("export after %d entries: %w", n, err)
		}
		if p.Next == nil {
			slices.Sort(missing)
			return n, slices.Compact(missing), nil
		}
		q.Cursor = p.Next
	}
}

// encoder writes entries in one format.
type encoder struct {
	out    *bufio.Writer
	format Format
	row    []byte
}

func newEncoder(w io.Writer, format Format) (*encoder, error) {
	e := &encoder{out: bufio.NewWriterSize(w, 64<<10), format: format}
	switch format {
	case FormatCSV:
		_, err := e.out.WriteString(csvHeader)
		return e, err
	case FormatJSONL:
		return e, nil
	}
	return nil, fmt.Errorf("export: no format %d", format)
}

func (e *encoder) write(f Found) error {
	if e.format == FormatCSV {
		e.row = appendCSV(e.row[:0], f)
		_, err := e.out.Write(e.row)
		return err
	}
	b, err := protojson.Marshal(ToAPI(f))
	if err != nil {
		return err
	}
	// protojson puts spaces in at will, so that nobody relies on its bytes. Ours are the same every time.
	line := bytes.NewBuffer(e.row[:0])
	if err := json.Compact(line, b); err != nil {
		return err
	}
	line.WriteByte('\n')
	e.row = line.Bytes()
	_, err = e.out.Write(e.row)
	return err
}
