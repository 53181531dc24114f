package rpc

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/kavachd/kavachd/ids"
)

// pager is one request for a page: where it begins, and how it names the next.
type pager struct {
	tokens  *pageTokens
	binding pageBinding
	cursor  []byte // nil: the first page
}

// pager opens a page token. filter is the request without page and consistency.
func (a *api) pager(ctx context.Context, method string, filter proto.Message, token string) (*pager, error) {
	binding, err := bindPages(a.node.ClusterID(), method, callerOf(ctx).key.Tenant, filter)
	if err != nil {
		return nil, err
	}
	cursor, err := a.pages.open(binding, token)
	if err != nil {
		return nil, err
	}
	return &pager{tokens: a.pages, binding: binding, cursor: cursor}, nil
}

// token returns the token of the page that begins behind cursor.
func (p *pager) token(cursor []byte) (string, error) { return p.tokens.seal(p.binding, cursor) }

// errCursor is for a cursor that this version can't have written: tokens are authenticated, so it is a defect.
var errCursor = errors.New("malformed cursor in a genuine page token")

func idCursor(cursor []byte) (ids.ID, error) {
	switch len(cursor) {
	case 0:
		return ids.ID{}, nil
	case len(ids.ID{}):
		return ids.ID(cursor), nil
	default:
		return ids.ID{}, errCursor
	}
}

func numberCursor(cursor []byte) (uint64, error) {
	switch len(cursor) {
	case 0:
		return 0, nil
	case 8:
		return binary.BigEndian.Uint64(cursor), nil
	default:
		return 0, errCursor
	}
}

// fieldsOf returns which of the known fields an update names. An empty mask names those that are set in m. An unknown
// path, and an update of nothing, are errors.
func fieldsOf(m proto.Message, mask *fieldmaskpb.FieldMask, known ...string) (map[string]bool, error) {
	named := make(map[string]bool, len(known))
	for i, path := range mask.GetPaths() {
		if !slices.Contains(known, path) {
			return nil, invalid("update_mask.paths["+strconv.Itoa(i)+"]", "%q is not one of %s", cut(path, 256), strings.Join(known, ", "))
		}
		named[path] = true
	}
	if len(named) == 0 {
		fields := m.ProtoReflect().Descriptor().Fields()
		for _, name := range known {
			if f := fields.ByTextName(name); f != nil && m.ProtoReflect().Has(f) {
				named[name] = true
			}
		}
	}
	if len(named) == 0 {
		return nil, invalid("update_mask", "nothing to change: name at least one of %s", strings.Join(known, ", "))
	}
	return named, nil
}
