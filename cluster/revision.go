package cluster

import (
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/kavachd/kavachd/status"
)

// clusterID names a cluster: 16 random bytes, made once by the node that founds it. The zero value is none.
type clusterID [16]byte

// shortIDLen is the length of the cluster's part of a revision token: 8 hex digits tell clusters apart; they prove nothing.
const shortIDLen = 8

func (c clusterID) String() string { return hex.EncodeToString(c[:]) }

// revisionToken names an index in one history of one cluster.
func revisionToken(c clusterID, epoch, index uint64) string {
	b := make([]byte, 0, shortIDLen+2+2*20)
	b = hex.AppendEncode(b, c[:shortIDLen/2])
	b = append(b, '.')
	b = strconv.AppendUint(b, epoch, 10)
	b = append(b, '.')
	b = strconv.AppendUint(b, index, 10)
	return string(b)
}

// parseRevision returns the index that token names in this history of this cluster. It returns status.InvalidArgument
// for what is no token, and status.RevisionUnknown for one of another cluster or another history.
func parseRevision(c clusterID, epoch uint64, token string) (uint64, error) {
	id, rest, ok := strings.Cut(token, ".")
	history, number, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || len(id) != shortIDLen {
		return 0, malformedRevision()
	}
	e, err := parseNumber(history)
	if err != nil {
		return 0, malformedRevision()
	}
	index, err := parseNumber(number)
	if err != nil {
		return 0, malformedRevision()
	}
	if id != hex.EncodeToString(c[:shortIDLen/2]) || e != epoch {
		return 0, status.New(status.RevisionUnknown, "the revision belongs to another cluster or another history")
	}
	return index, nil
}

// parseNumber reads a number in the one form that revisionToken writes: no sign, no leading zero.
func parseNumber(s string) (uint64, error) {
	if len(s) > 1 && s[0] == '0' || s != "" && s[0] == '+' {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(s, 10, 64)
}

func malformedRevision() error {
	return status.New(status.InvalidArgument, "malformed revision").
		WithField("consistency.at_least", "must be a revision that an answer carried")
}
