package storage

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kavachd/kavachd/ids"
)

// keyCase is one key space under test: a constructor and its parser over values drawn from a small language, so that
// all tables are tested alike. build and parse use the fields of v that the table has.
type keyCase struct {
	table byte
	build func(v values) []byte
	parse func(key []byte) (values, error)
	order []string // fields of values, in the order in which keys sort
}

// values has one field for each kind of component. Two texts, for the tables that have two.
type values struct {
	Text, Text2, Text3 string
	ID                 ids.ID
	Hash               ids.Hash
	Time               int64
	Uint               uint64
	Uint32             uint32
	Kind               TermKind
}

func keyCases() []keyCase {
	return []keyCase{
		{TableAgent, func(v values) []byte { return AgentKey(v.Text, v.ID) }, func(k []byte) (v values, err error) {
			v.Text, v.ID, err = ParseAgentKey(k)
			return
		}, []string{"Text", "ID"}},
		{TableAgentTenant, func(v values) []byte { return AgentTenantKey(v.ID) }, func(k []byte) (v values, err error) {
			v.ID, err = ParseAgentTenantKey(k)
			return
		}, []string{"ID"}},
		{TableToken, func(v values) []byte { return TokenKey(v.Hash) }, func(k []byte) (v values, err error) {
			v.Hash, err = ParseTokenKey(k)
			return
		}, []string{"Hash"}},
		{TableActive, func(v values) []byte { return ActiveKey(v.Text, v.Text2, v.Time, v.ID) }, func(k []byte) (v values, err error) {
			v.Text, v.Text2, v.Time, v.ID, err = ParseActiveKey(k)
			return
		}, []string{"Text", "Text2", "Time", "ID"}},
		{TableOwned, func(v values) []byte { return OwnedKey(v.Text, v.Text2, v.ID) }, func(k []byte) (v values, err error) {
			v.Text, v.Text2, v.ID, err = ParseOwnedKey(k)
			return
		}, []string{"Text", "Text2", "ID"}},
		{TableAgentPurge, func(v values) []byte { return AgentPurgeKey(v.Time, v.ID) }, func(k []byte) (v values, err error) {
			v.Time, v.ID, err = ParseAgentPurgeKey(k)
			return
		}, []string{"Time", "ID"}},
		{TableDelegation, func(v values) []byte { return DelegationKey(v.Text, v.ID) }, func(k []byte) (v values, err error) {
			v.Text, v.ID, err = ParseDelegationKey(k)
			return
		}, []string{"Text", "ID"}},
		{TableDelegationTenant, func(v values) []byte { return DelegationTenantKey(v.ID) }, func(k []byte) (v values, err error) {
			v.ID, err = ParseDelegationTenantKey(k)
			return
		}, []string{"ID"}},
		{TableReceived, func(v values) []byte { return ReceivedKey(v.Text, v.ID, v.Uint) }, func(k []byte) (v values, err error) {
			v.Text, v.ID, v.Uint, err = ParseReceivedKey(k)
			return
		}, []string{"Text", "ID", "Uint"}},
		{TableGiven, func(v values) []byte { return GivenKey(v.Text, v.ID, v.Uint) }, func(k []byte) (v values, err error) {
			v.Text, v.ID, v.Uint, err = ParseGivenKey(k)
			return
		}, []string{"Text", "ID", "Uint"}},
		{TableLiveReceived, func(v values) []byte { return LiveReceivedKey(v.Text, v.ID, v.Time, v.Uint) }, func(k []byte) (v values, err error) {
			v.Text, v.ID, v.Time, v.Uint, err = ParseLiveReceivedKey(k)
			return
		}, []string{"Text", "ID", "Time", "Uint"}},
		{TableLiveGiven, func(v values) []byte { return LiveGivenKey(v.Text, v.ID, v.Time, v.Uint) }, func(k []byte) (v values, err error) {
			v.Text, v.ID, v.Time, v.Uint, err = ParseLiveGivenKey(k)
			return
		}, []string{"Text", "ID", "Time", "Uint"}},
		{TableDelegationPurge, func(v values) []byte { return DelegationPurgeKey(v.Time, v.ID) }, func(k []byte) (v values, err error) {
			v.Time, v.ID, err = ParseDelegationPurgeKey(k)
			return
		}, []string{"Time", "ID"}},
		{TableKey, func(v values) []byte { return APIKeyKey(v.Text, v.ID) }, func(k []byte) (v values, err error) {
			v.Text, v.ID, err = ParseAPIKeyKey(k)
			return
		}, []string{"Text", "ID"}},
		{TableKeyTenant, func(v values) []byte { return KeyTenantKey(v.ID) }, func(k []byte) (v values, err error) {
			v.ID, err = ParseKeyTenantKey(k)
			return
		}, []string{"ID"}},
		{TableKeyHash, func(v values) []byte { return KeyHashKey(v.Hash) }, func(k []byte) (v values, err error) {
			v.Hash, err = ParseKeyHashKey(k)
			return
		}, []string{"Hash"}},
		{TableSettings, func(v values) []byte { return SettingsKey(v.Text) }, func(k []byte) (v values, err error) {
			v.Text, err = ParseSettingsKey(k)
			return
		}, []string{"Text"}},
		{TableCluster, func(values) []byte { return ClusterKey() }, func(k []byte) (v values, err error) {
			return v, ParseClusterKey(k)
		}, nil},
		{TableNode, func(v values) []byte { return NodeKey(v.Text) }, func(k []byte) (v values, err error) {
			v.Text, err = ParseNodeKey(k)
			return
		}, []string{"Text"}},
		{TableIdempotency, func(v values) []byte {
			return IdempotencyKey(IdempotencyID{Tenant: v.Text, Caller: v.ID, Method: v.Text2, Key: v.Text3})
		}, func(k []byte) (values, error) {
			q, err := ParseIdempotencyKey(k)
			return values{Text: q.Tenant, ID: q.Caller, Text2: q.Method, Text3: q.Key}, err
		}, []string{"Text", "ID", "Text2", "Text3"}},
		{TableIdempotencyExpiry, func(v values) []byte {
			return IdempotencyExpiryKey(v.Time, IdempotencyID{Tenant: v.Text, Caller: v.ID, Method: v.Text2, Key: v.Text3})
		}, func(k []byte) (values, error) {
			at, q, err := ParseIdempotencyExpiryKey(k)
			return values{Time: at, Text: q.Tenant, ID: q.Caller, Text2: q.Method, Text3: q.Key}, err
		}, []string{"Time", "Text", "ID", "Text2", "Text3"}},
		{TableAuditBlock, func(v values) []byte { return AuditBlockKey(v.Uint) }, func(k []byte) (v values, err error) {
			v.Uint, err = ParseAuditBlockKey(k)
			return
		}, []string{"Uint"}},
		{TableAuditBody, func(v values) []byte { return AuditBodyKey(v.Uint) }, func(k []byte) (v values, err error) {
			v.Uint, err = ParseAuditBodyKey(k)
			return
		}, []string{"Uint"}},
		{TableAuditTerm, func(v values) []byte { return AuditTermKey(v.Kind, v.Text, v.Time, v.Uint) }, func(k []byte) (v values, err error) {
			v.Kind, v.Text, v.Time, v.Uint, err = ParseAuditTermKey(k)
			return
		}, []string{"Kind", "Text", "Time", "Uint"}},
		{TableJournal, func(v values) []byte { return JournalKey(JournalID(v.ID)) }, func(k []byte) (v values, err error) {
			j, err := ParseJournalKey(k)
			return values{ID: ids.ID(j)}, err
		}, []string{"ID"}},
		{TableChange, func(v values) []byte { return ChangeKey(v.Uint, v.Uint32) }, func(k []byte) (v values, err error) {
			v.Uint, v.Uint32, err = ParseChangeKey(k)
			return
		}, []string{"Uint", "Uint32"}},
	}
}

// masked is v with only the fields that the table has.
func (c keyCase) masked(v values) values {
	var out values
	for _, f := range c.order {
		reflect.ValueOf(&out).Elem().FieldByName(f).Set(reflect.ValueOf(v).FieldByName(f))
	}
	return out
}

// compare is the order that the key's bytes must have.
func (c keyCase) compare(a, b values) int {
	for _, f := range c.order {
		x, y := reflect.ValueOf(a).FieldByName(f), reflect.ValueOf(b).FieldByName(f)
		var n int
		switch {
		case x.Kind() == reflect.String:
			n = strings.Compare(x.String(), y.String())
		case x.CanInt():
			n = cmp.Compare(x.Int(), y.Int())
		case x.CanUint():
			n = cmp.Compare(x.Uint(), y.Uint())
		default:
			n = strings.Compare(fmt.Sprintf("%x", x.Interface()), fmt.Sprintf("%x", y.Interface())) // arrays of bytes
		}
		if n != 0 {
			return n
		}
	}
	return 0
}

func drawValues(t *rapid.T, label string) values {
	// Few letters, zeros and high bytes among them, so that texts often begin alike and one is often the other's prefix.
	text := rapid.StringOfN(rapid.SampledFrom([]rune{0, 1, 'a', 'b', '/', 0xff, 'é'}), 0, 4, -1)
	number := rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 3))
	var v values
	v.Text, v.Text2, v.Text3 = text.Draw(t, label+"text"), text.Draw(t, label+"text2"), text.Draw(t, label+"text3")
	for i := range 2 {
		v.ID[i*15], v.Hash[i*31] = byte(number.Draw(t, label+"id")), byte(number.Draw(t, label+"hash"))
	}
	v.Time = rapid.OneOf(rapid.Int64(), rapid.Int64Range(-2, 2), rapid.Just(Never)).Draw(t, label+"time")
	v.Uint, v.Uint32 = number.Draw(t, label+"uint"), uint32(number.Draw(t, label+"uint32"))
	v.Kind = TermKind(rapid.IntRange(1, 5).Draw(t, label+"kind"))
	return v
}

// TestKeysRoundTripAndOrder: what is built parses to the same values, and bytes sort as values do.
func TestKeysRoundTripAndOrder(t *testing.T) {
	for _, c := range keyCases() {
		rapid.Check(t, func(t *rapid.T) {
			a, b := c.masked(drawValues(t, "a ")), c.masked(drawValues(t, "b "))
			ka, kb := c.build(a), c.build(b)
			got, err := c.parse(ka)
			if err != nil || got != a {
				t.Fatalf("table %q: %+v is built as %x and parsed as %+v, %v", c.table, a, ka, got, err)
			}
			if got, want := bytes.Compare(ka, kb), c.compare(a, b); got != want {
				t.Fatalf("table %q: %+v and %+v compare %d, their keys %x and %x compare %d", c.table, a, b, want, ka, kb, got)
			}
		})
	}
}

// TestEveryTableHasACase: the drawing, the list of tables and the cases name the same letters, each once.
func TestEveryTableHasACase(t *testing.T) {
	drawn := map[byte]string{}
	f, err := parser.ParseFile(token.NewFileSet(), "keys.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		d, ok := n.(*ast.GenDecl)
		if !ok || d.Tok != token.CONST || d.Doc == nil {
			return true
		}
		for line := range strings.Lines(d.Doc.Text()) {
			if w := strings.Fields(line); len(w) > 3 && len(w[0]) == 1 && w[len(w)-1] == "1" {
				drawn[w[0][0]] = w[1]
			}
		}
		return true
	})
	cases := keyCases()
	if len(cases) != len(Tables()) || len(drawn) != len(Tables()) {
		t.Fatalf("%d tables, %d cases, %d drawn", len(Tables()), len(cases), len(drawn))
	}
	seen := map[byte]bool{}
	for i, table := range Tables() {
		if seen[table.Letter] || table.Letter == 0 {
			t.Errorf("the letter %q stands twice, or is the node's own", table.Letter)
		}
		seen[table.Letter] = true
		if cases[i].table != table.Letter || drawn[table.Letter] != table.Name {
			t.Errorf("table %q %s: case %q, drawn as %q", table.Letter, table.Name, cases[i].table, drawn[table.Letter])
		}
	}
}

// goldenValues are in every key of the golden file. Don't change them.
var goldenValues = []values{
	{
		Text: "default", Text2: "alice", Text3: "k-1", ID: ids.ID{0x01, 0x90, 15: 0x01}, Hash: ids.Hash{0: 0xab, 31: 0x01},
		Time: 1_700_000_000_000_000_000, Uint: 42<<16 | 3, Uint32: 7, Kind: TermAgent,
	},
	{
		Text: "a\x00/b", Text2: "", Text3: "é", ID: ids.ID{0: 0xff}, Hash: ids.Hash{0: 0xff}, Time: Never,
		Uint: math.MaxUint64, Uint32: math.MaxUint32, Kind: TermResult,
	},
}

// TestKeysGolden pins the bytes of every key: state on disks and snapshots of other versions hold them.
// KAVACH_REWRITE=1 writes the file anew.
func TestKeysGolden(t *testing.T) {
	var b strings.Builder
	for i, c := range keyCases() {
		for _, v := range goldenValues {
			key := c.build(c.masked(v))
			fmt.Fprintf(&b, "%c %-18s %s\n  %s\n", c.table, Tables()[i].Name, hex.EncodeToString(key), PrintKey(key))
		}
	}
	const path = "testdata/keys.txt"
	if os.Getenv("KAVACH_REWRITE") != "" {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Fatalf("keys differ from %s:\n%s", path, got)
	}
}

func TestPrefixRange(t *testing.T) {
	for _, tc := range []struct{ prefix, lower, upper []byte }{
		{[]byte("ab"), []byte("ab"), []byte("ac")},
		{[]byte{'a', 0xff}, []byte{'a', 0xff}, []byte{'b'}},
		{[]byte{0xff, 0xff}, []byte{0xff, 0xff}, nil},
	} {
		lower, upper := PrefixRange(tc.prefix)
		if !bytes.Equal(lower, tc.lower) || !bytes.Equal(upper, tc.upper) {
			t.Errorf("PrefixRange(%x) = %x, %x", tc.prefix, lower, upper)
		}
	}
}

// TestPrefixesHoldTheirKeys: a key lies in the range of its prefix and of its bound, one of a longer text does not.
func TestPrefixesHoldTheirKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawValues(t, "a "), drawValues(t, "b ")
		for _, p := range []struct {
			prefix func(v values) []byte
			key    func(v values) []byte
			same   bool
		}{
			{func(v values) []byte { return AgentPrefix(v.Text) }, func(v values) []byte { return AgentKey(v.Text, v.ID) }, a.Text == b.Text},
			{func(v values) []byte { return DelegationPrefix(v.Text) }, func(v values) []byte { return DelegationKey(v.Text, v.ID) }, a.Text == b.Text},
			{
				func(v values) []byte { return ActivePrefix(v.Text, v.Text2) },
				func(v values) []byte { return ActiveKey(v.Text, v.Text2, v.Time, v.ID) }, a.Text == b.Text && a.Text2 == b.Text2,
			},
			{
				func(v values) []byte { return OwnedPrefix(v.Text, v.Text2) },
				func(v values) []byte { return OwnedKey(v.Text, v.Text2, v.ID) }, a.Text == b.Text && a.Text2 == b.Text2,
			},
			{
				func(v values) []byte { return GivenPrefix(v.Text, v.ID) },
				func(v values) []byte { return GivenKey(v.Text, v.ID, v.Uint) }, a.Text == b.Text && a.ID == b.ID,
			},
			{
				func(v values) []byte { return ReceivedPrefix(v.Text, v.ID) },
				func(v values) []byte { return ReceivedKey(v.Text, v.ID, v.Uint) }, a.Text == b.Text && a.ID == b.ID,
			},
			{
				func(v values) []byte { return LiveGivenPrefix(v.Text, v.ID) },
				func(v values) []byte { return LiveGivenKey(v.Text, v.ID, v.Time, v.Uint) }, a.Text == b.Text && a.ID == b.ID,
			},
			{
				func(v values) []byte { return LiveReceivedPrefix(v.Text, v.ID) },
				func(v values) []byte { return LiveReceivedKey(v.Text, v.ID, v.Time, v.Uint) }, a.Text == b.Text && a.ID == b.ID,
			},
			{
				func(v values) []byte { return AuditTermPrefix(v.Kind, v.Text) },
				func(v values) []byte { return AuditTermKey(v.Kind, v.Text, v.Time, v.Uint) }, a.Kind == b.Kind && a.Text == b.Text,
			},
		} {
			lower, upper := PrefixRange(p.prefix(a))
			key := p.key(b)
			in := bytes.Compare(lower, key) <= 0 && (upper == nil || bytes.Compare(key, upper) < 0)
			if in != p.same {
				t.Fatalf("%s is in the range of %x: %v, want %v", PrintKey(key), lower, in, p.same)
			}
		}
		for _, bound := range [][2][]byte{
			{ActiveFrom(a.Text, a.Text2, a.Time), ActiveKey(a.Text, a.Text2, b.Time, b.ID)},
			{LiveReceivedFrom(a.Text, a.ID, a.Time), LiveReceivedKey(a.Text, a.ID, b.Time, b.Uint)},
			{LiveGivenFrom(a.Text, a.ID, a.Time), LiveGivenKey(a.Text, a.ID, b.Time, b.Uint)},
			{AuditTermFrom(a.Kind, a.Text, a.Time), AuditTermKey(a.Kind, a.Text, b.Time, b.Uint)},
		} {
			if in := bytes.Compare(bound[0], bound[1]) <= 0; in != (a.Time <= b.Time) {
				t.Fatalf("%s is behind the bound of %d: %v", PrintKey(bound[1]), a.Time, in)
			}
		}
	})
}

func TestValuesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawValues(t, "")
		o, err := ParseOwner(Owner{ID: v.ID, Tenant: v.Text}.Value())
		if err != nil || o.ID != v.ID || o.Tenant != v.Text {
			t.Fatalf("%+v, %v", o, err)
		}
		if n, err := ParseUintValue(UintValue(v.Uint)); err != nil || n != v.Uint {
			t.Fatalf("%d, %v", n, err)
		}
		if at, err := ParseTimeValue(TimeValue(v.Time)); err != nil || at != v.Time {
			t.Fatalf("%d, %v", at, err)
		}
	})
	if _, err := ParseOwner(make([]byte, 15)); err == nil {
		t.Error("an owner of 15 bytes is accepted")
	}
	if _, err := ParseUintValue(make([]byte, 9)); err == nil {
		t.Error("a number of 9 bytes is accepted")
	}
}

func TestAfter(t *testing.T) {
	key := []byte("k")
	if next := After(key); bytes.Compare(key, next) >= 0 || bytes.Compare(next, []byte{'k', 0, 0}) > 0 || string(key) != "k" {
		t.Errorf("After(%q) = %q", key, next)
	}
}

// FuzzParseKeys: whatever parses is built from what it parsed to, so that no two keys mean the same; PrintKey takes all.
func FuzzParseKeys(f *testing.F) {
	for _, c := range keyCases() {
		for _, v := range goldenValues {
			f.Add(c.build(c.masked(v)))
		}
	}
	f.Add([]byte{TableNode, 0})
	f.Add([]byte{TableNode, 'a', 0, 2})
	cases := keyCases()
	f.Fuzz(func(t *testing.T, key []byte) {
		if PrintKey(key) == "" {
			t.Fatal("a key prints as nothing")
		}
		for _, c := range cases {
			v, err := c.parse(key)
			if err == nil && !bytes.Equal(c.build(v), key) {
				t.Fatalf("table %q: %x parses to %+v, which is built as %x", c.table, key, v, c.build(v))
			}
		}
	})
}
