package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"
)

func TestCanonicalObject(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		// RFC 8785 3.2.2, the whole example.
		"the RFC's example": {
			"{\"numbers\": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],\n" +
				"\"string\": \"\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\\"\\/\", \"literals\": [null, true, false]}",
			"{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}",
		},
		// RFC 8785 3.2.3: UTF-16 code units, so the smiley (D83D DE00) stands before U+FB33.
		"the RFC's order": {
			`{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew","1":"One","\ud83d\ude00":"Smiley","\u0080":"Control","\u00f6":"O"}`,
			"{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"O\",\"€\":\"Euro Sign\",\"😀\":\"Smiley\",\"\ufb33\":\"Hebrew\"}",
		},
		"two smileys":       {`{"😁":1,"😀":2}`, `{"😀":2,"😁":1}`},
		"exact integers":    {`{"a":9007199254740993,"b":-123456789012345678901234567890,"c":-0}`, `{"a":9007199254740993,"b":-123456789012345678901234567890,"c":0}`},
		"doubles":           {`{"a":-0.0,"b":1e21,"c":1e-7,"d":123456789012345680000.0,"e":1.5e-10}`, `{"a":0,"b":1e+21,"c":1e-7,"d":123456789012345680000,"e":1.5e-10}`},
		"nothing":           {" {\t} ", `{}`},
		"nested":            {`{"b":{"d":1,"c":[{}, []]},"a":""}`, `{"a":"","b":{"c":[{},[]],"d":1}}`},
		"prefixes are less": {`{"ab":1,"a":2,"":3}`, `{"":3,"a":2,"ab":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := canonicalObject(c.in)
			if err != nil || string(got) != c.want {
				t.Fatalf("got  %s (%v)\nwant %s", got, err, c.want)
			}
		})
	}
}

func TestCanonicalRefuses(t *testing.T) {
	deep := strings.Repeat(`[`, maxJSONDepth+1) + strings.Repeat(`]`, maxJSONDepth+1)
	for name, c := range map[string]struct{ in, path, msg string }{
		"empty":            {"", "", "must be a JSON object"},
		"an array":         {"[1]", "", "must be a JSON object"},
		"a string":         {`"a"`, "", "must be a JSON object"},
		"more":             {`{} {}`, "", "something follows the object at byte 3"},
		"twice":            {`{"a":{"b":1,"c":2,"b":3}}`, ".a.b", "stands twice"},
		"twice by escape":  {`{"a":1,"\u0061":2}`, ".a", "stands twice"},
		"comma":            {`{"a":1,}`, "", "no name"},
		"no value":         {`{"a":}`, ".a", "no JSON value"},
		"leading zero":     {`{"a":01}`, "", "no comma"},
		"plus":             {`{"a":+1}`, ".a", "no JSON value"},
		"point":            {`{"a":1.}`, ".a", "a malformed number"},
		"exponent":         {`{"a":1e}`, ".a", "a malformed number"},
		"minus":            {`{"a":-}`, ".a", "a malformed number"},
		"too large":        {`{"a":[0,1e400]}`, ".a[1]", "outside the range"},
		"NaN":              {`{"a":NaN}`, ".a", "no JSON value"},
		"half a surrogate": {`{"a":"\ud800"}`, ".a", "half a surrogate pair"},
		"two highs":        {`{"a":"\ud800\ud800"}`, ".a", "half a surrogate pair"},
		"bad escape":       {`{"a":"\x"}`, ".a", "a malformed escape"},
		"short escape":     {`{"a":"\u12"}`, ".a", "a malformed escape"},
		"control":          {"{\"a\":\"\n\"}", ".a", "a control character"},
		"control escaped":  {"{\"a\":\"\\n\n\"}", ".a", "a control character"},
		"no end":           {`{"a":"`, ".a", "without an end"},
		"no end escaped":   {`{"a":"\n`, ".a", "without an end"},
		"UTF-8":            {"{\"a\":\"\xff\"}", ".a", "invalid UTF-8"},
		"UTF-8 escaped":    {"{\"a\":\"\\n\xff\"}", ".a", "invalid UTF-8"},
		"UTF-8 in a name":  {"{\"\xff\":1}", "", "invalid UTF-8"},
		"deep":             {`{"a":` + deep + `}`, ".a" + strings.Repeat("[0]", maxJSONDepth), "nests deeper than 100 levels"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := canonicalObject(c.in)
			e, ok := errors.AsType[*jsonError](err)
			if !ok {
				t.Fatalf("accepted, or another error: %v", err)
			}
			if e.path != c.path || !strings.Contains(e.msg, c.msg) {
				t.Fatalf("%q: %q, want %q: %q", e.path, e.msg, c.path, c.msg)
			}
		})
	}
	for name, v := range map[string]*structpb.Value{
		"NaN": structpb.NewNumberValue(math.NaN()), "Inf": structpb.NewNumberValue(math.Inf(1)), "no kind": {},
	} {
		s := &structpb.Struct{Fields: map[string]*structpb.Value{"a": v}}
		if _, _, err := canonicalStruct(s); err == nil {
			t.Errorf("a Struct with %s is accepted", name)
		}
	}
}

// TestCanonicalStructAgrees: both ways in give the same form, except for integers beyond 2^53, and it means the same as
// the input.
func TestCanonicalStructAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := map[string]any{}
		for _, name := range rapid.SliceOfDistinct(rapid.String(), rapid.ID[string]).Draw(t, "names") {
			in[name] = drawJSON(t, 3)
		}
		s, err := structpb.NewStruct(in)
		if err != nil {
			return // invalid UTF-8
		}
		text, err := protojson.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		fromStruct, _, err := canonicalStruct(s)
		if err != nil {
			t.Fatal(err)
		}
		fromText, members, err := canonicalObject(string(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if !bytes.Equal(fromStruct, fromText) {
			t.Fatalf("Struct %s\ntext   %s", fromStruct, fromText)
		}
		back := &structpb.Struct{}
		if err := protojson.Unmarshal(fromText, back); err != nil || len(members) != len(in) {
			t.Fatalf("%s: %v, %d members", fromText, err, len(members))
		}
		again, _, err := canonicalStruct(back)
		if err != nil || !bytes.Equal(again, fromText) {
			t.Fatalf("not stable: %s, then %s (%v)", fromText, again, err)
		}
	})
}

func drawJSON(t *rapid.T, depth int) any {
	kinds := 4
	if depth > 0 {
		kinds = 6
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2:
		return rapid.String().Draw(t, "string")
	case 3:
		// The text of a Struct shows integral doubles as integers, whose digits the text form keeps.
		f := rapid.Float64Range(-1e15, 1e15).Draw(t, "number")
		return f
	case 4:
		return []any{drawJSON(t, depth-1), drawJSON(t, depth-1)}
	default:
		return map[string]any{rapid.String().Draw(t, "name"): drawJSON(t, depth-1)}
	}
}

// FuzzArguments: what is accepted is JSON and has a stable form; encoding/json, a looser reader, accepts it too.
func FuzzArguments(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":[1,-0,1e5,"\ud83d\ude00",{"b":null}]}`, `{"a":1,"a":2}`, `{"a":"\ud800"}`, "{\"\xff\":1}", `{"x":123456789012345678901}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, members, err := canonicalObject(text)
		if err != nil {
			return
		}
		if !json.Valid([]byte(text)) {
			t.Fatalf("accepted, but no JSON: %q", text)
		}
		again, members2, err := canonicalObject(string(got))
		if err != nil || !bytes.Equal(got, again) || len(members) != len(members2) {
			t.Fatalf("%q becomes %q, then %q (%v)", text, got, again, err)
		}
		args, err := readArguments(nil, text, true, "")
		if err == nil && len(args.top) != len(members) {
			t.Fatalf("%d arguments of %d members", len(args.top), len(members))
		}
	})
}
