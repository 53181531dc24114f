package rpc

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/status"
)

func TestJSONRefuses(t *testing.T) {
	for name, c := range map[string]struct{ body, field, message string }{
		"unknown field":          {`{"ownerId":"a","subjekt":1}`, "subjekt", "unknown field"},
		"unknown below a list":   {`{"permissions":[{"resource":"a"},{"constraints":{"timeWindw":{}}}]}`, "permissions[1].constraints.timeWindw", "unknown field"},
		"unknown, proto names":   {`{"owner_id":"a","expiry":{"tll":"3s"}}`, "expiry.tll", "unknown field"},
		"metadata is free":       {`{"metadata":{"anything":1},"nme":""}`, "nme", "unknown field"},
		"wrong type":             {`{"ownerId":7}`, "ownerId", "invalid value for string field ownerId: 7"},
		"unknown enum value":     {`{"type":"AGENT_TYPE_ROBOT"}`, "type", "invalid value for enum field type"},
		"no JSON":                {`{"ownerId"`, "", "malformed JSON"},
		"nothing":                {"  ", "", "the body is empty"},
		"an array":               {`[]`, "", "malformed JSON"},
		"twice":                  {`{"ownerId":"a","owner_id":"b"}`, "owner_id", "duplicate field"},
		"two oneof members":      {`{"expiry":{"ttl":"3s","never":{}}}`, "", "malformed JSON"},
		"something behind":       {`{} {}`, "", "malformed JSON"},
		"invalid UTF-8":          {"{\"ownerId\":\"\xff\"}", "", "malformed JSON"},
		"a duration in no unit":  {`{"expiry":{"ttl":"3"}}`, "", "malformed JSON"},
		"large number in an int": {`{"validateOnly":99}`, "validateOnly", "invalid value for bool field validateOnly"},
	} {
		t.Run(name, func(t *testing.T) {
			var req kavachv1.CreateAgentRequest
			if err := (codec{json: true}).Unmarshal([]byte(c.body), &req); err != nil {
				t.Fatalf("Unmarshal failed itself: %v", err)
			}
			e := malformed(&req)
			if e == nil {
				t.Fatal("accepted")
			}
			text, field := e.Message, ""
			if len(e.Fields) > 0 {
				text, field = e.Message+e.Fields[0].Message, e.Fields[0].Path
			}
			if e.Reason != status.InvalidArgument || field != c.field || !strings.Contains(text, c.message) {
				t.Fatalf("%s, field %q", text, field)
			}
			if strings.Contains(text, "proto:") {
				t.Errorf("the library's prefix is shown: %s", text)
			}
			rest := newRESTCodec(nil).Unmarshal([]byte(c.body), &kavachv1.CreateAgentRequest{})
			if detailOf(t, rest).GetReason() != "INVALID_ARGUMENT" {
				t.Errorf("REST: %v", rest)
			}
		})
	}
}

// TestDefaultsAreWritten: a denial must be readable as one.
func TestDefaultsAreWritten(t *testing.T) {
	raw, err := (codec{json: true}).Marshal(&kavachv1.AuthorizeResponse{Decision: &kavachv1.Decision{}})
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Decision map[string]any `json:"decision"`
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if allowed, ok := got.Decision["allowed"].(bool); !ok || allowed {
		t.Fatalf("%s", raw)
	}
}

func TestCodecRoundTrip(t *testing.T) {
	req := &kavachv1.CreateAgentRequest{OwnerId: "ada", Permissions: []*kavachv1.Permission{{Resource: "a:*", Actions: []string{"read"}}}}
	for _, c := range []codec{{}, {json: true}} {
		for _, marshal := range []func(any) ([]byte, error){c.Marshal, c.MarshalStable} {
			raw, err := marshal(req)
			if err != nil {
				t.Fatal(err)
			}
			var got kavachv1.CreateAgentRequest
			if err := c.Unmarshal(raw, &got); err != nil || malformed(&got) != nil || !proto.Equal(&got, req) {
				t.Errorf("%s: %v, %v", c.Name(), err, malformed(&got))
			}
		}
		if _, err := c.Marshal("text"); err == nil {
			t.Errorf("%s marshals a string", c.Name())
		}
		if err := c.Unmarshal(nil, "text"); err == nil {
			t.Errorf("%s unmarshals into a string", c.Name())
		}
	}
	var got kavachv1.CreateAgentRequest
	if err := (codec{}).Unmarshal([]byte{0xff}, &got); err != nil || malformed(&got) == nil {
		t.Errorf("broken protobuf: %v", err)
	}
}

// TestLimitedGzip: a body that unpacks to gigabytes is given up at twice the limit.
func TestLimitedGzip(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	zeros := make([]byte, 1<<20)
	for range 64 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	g := &limitedGzip{Decompressor: &gzip.Reader{}}
	if err := g.Reset(&packed); err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, g)
	if n != 2*MaxRequestBytes || !errors.Is(err, errUnpackedTooLarge) {
		t.Fatalf("%d bytes, %v", n, err)
	}
}

// FuzzJSONCodec: no input panics or is silently dropped: what is accepted survives a round trip, and strictness agrees
// with protojson's.
func FuzzJSONCodec(f *testing.F) {
	for _, seed := range []string{`{}`, `{"ownerId":"a"}`, `{"permissions":[{"bad":1}]}`, `{"metadata":{"a":[1,{}]}}`, `{"expiry":{"ttl":"1.5s"}}`, `{"a":`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var req, plain kavachv1.CreateAgentRequest
		if err := (codec{json: true}).Unmarshal(body, &req); err != nil {
			t.Fatal(err)
		}
		e, err := malformed(&req), protojson.Unmarshal(body, &plain)
		if (e == nil) != (err == nil) {
			t.Fatalf("%q: codec %v, protojson %v", body, e, err)
		}
		if e == nil && !proto.Equal(&req, &plain) {
			t.Fatalf("%q: %v, protojson %v", body, &req, &plain)
		}
	})
}
