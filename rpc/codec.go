package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"connectrpc.com/connect"
	"connectrpc.com/vanguard"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/status"
)

// marshalJSON writes every field that has a value or a default: allowed:false must be seen. Absent messages, lists and
// optional fields stay away.
var marshalJSON = protojson.MarshalOptions{EmitDefaultValues: true}

// unmarshalJSON refuses unknown fields: in an authorizer, a mistyped constraint that is silently dropped is a hole.
var unmarshalJSON = protojson.UnmarshalOptions{}

// malformedField is the number under which an error of decoding rides in a request's unknown fields; the highest that
// protobuf has, and used by no message of ours.
const malformedField protowire.Number = protowire.MaxValidNumber

// codec encodes and decodes messages for connect, as protobuf or as strict JSON.
//
// Connect writes what a codec returns as an error itself, without details. So Unmarshal never fails: the error travels
// in the message, as an ErrorDetail in an unknown field, and the validating interceptor, which every request passes,
// takes it out and answers with it (malformed). A caller that sends such a field itself gets its own error back.
type codec struct{ json bool }

func (c codec) Name() string {
	if c.json {
		return "json"
	}
	return "proto"
}

// IsBinary tells connect how to put a message into a URL.
func (c codec) IsBinary() bool { return !c.json }

func (c codec) Marshal(message any) ([]byte, error) { return c.MarshalAppend(nil, message) }

// MarshalAppend appends the encoding of message to dst.
func (c codec) MarshalAppend(dst []byte, message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no protobuf message", message)
	}
	if c.json {
		return marshalJSON.MarshalAppend(dst, m)
	}
	return proto.MarshalOptions{}.MarshalAppend(dst, m)
}

// MarshalStable is for requests in URLs.
func (c codec) MarshalStable(message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no protobuf message", message)
	}
	if !c.json {
		return proto.MarshalOptions{Deterministic: true}.Marshal(m)
	}
	raw, err := marshalJSON.Marshal(m)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	err = json.Compact(&compact, raw)
	return compact.Bytes(), err
}

func (c codec) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return fmt.Errorf("%T is no protobuf message", message)
	}
	e := c.decode(data, m)
	if e == nil {
		return nil
	}
	proto.Reset(m)
	detail := &kavachv1.ErrorDetail{Reason: e.Message}
	for _, f := range e.Fields {
		detail.Fields = append(detail.Fields, &kavachv1.FieldError{Field: f.Path, Message: f.Message})
	}
	raw, err := proto.Marshal(detail)
	if err != nil {
		return errors.New("the body is not valid UTF-8")
	}
	unknown := protowire.AppendTag(nil, malformedField, protowire.BytesType)
	m.ProtoReflect().SetUnknown(protowire.AppendBytes(unknown, raw))
	return nil
}

func (c codec) decode(data []byte, m proto.Message) *status.Error {
	if c.json {
		return decodeJSON(data, m)
	}
	if err := proto.Unmarshal(data, m); err != nil {
		return status.New(status.InvalidArgument, "the body is not a valid protobuf message").Wrap(err)
	}
	return nil
}

// malformed returns the error that Unmarshal left in m, nil if there is none.
func malformed(m proto.Message) *status.Error {
	unknown := m.ProtoReflect().GetUnknown()
	if len(unknown) == 0 {
		return nil
	}
	num, typ, n := protowire.ConsumeTag(unknown)
	if num != malformedField || typ != protowire.BytesType {
		return nil
	}
	raw, n := protowire.ConsumeBytes(unknown[n:])
	if n < 0 {
		return nil
	}
	var detail kavachv1.ErrorDetail
	if err := proto.Unmarshal(raw, &detail); err != nil {
		return nil //nolint:nilerr // what is no detail of ours says nothing
	}
	e := status.New(status.InvalidArgument, "%s", detail.GetReason())
	for _, f := range detail.GetFields() {
		e.Fields = append(e.Fields, status.Field{Path: f.GetField(), Message: f.GetMessage()})
	}
	return e
}

var (
	jsonFieldAtFault = regexp.MustCompile(`(?:field|field path|parameter) (?:"([\w.]+)"|([\w.]+):)`)
	jsonErrorPrefix  = regexp.MustCompile(`^proto:[\s\x{a0}]*`)
)

// decodeJSON decodes strictly. Its error says what is wrong with the text and where, and names the path of an unknown
// field.
func decodeJSON(data []byte, m proto.Message) *status.Error {
	if len(bytes.TrimSpace(data)) == 0 {
		return status.New(status.InvalidArgument, "the body is empty: it must be a JSON object")
	}
	err := unmarshalJSON.Unmarshal(data, m)
	if err == nil {
		return nil
	}
	if path, ok := unknownField(data, m.ProtoReflect().Descriptor()); ok {
		return invalid(path, "unknown field")
	}
	text := strings.ToValidUTF8(jsonErrorPrefix.ReplaceAllString(err.Error(), ""), "\uFFFD")
	e := status.New(status.InvalidArgument, "malformed JSON: %s", text)
	if found := jsonFieldAtFault.FindStringSubmatch(text); found != nil {
		e = e.WithField(found[1]+found[2], "%s", text)
	}
	return e
}

// unknownField finds the first member of a JSON text that the message does not have, in the order of the text.
func unknownField(data []byte, d protoreflect.MessageDescriptor) (path string, ok bool) {
	if strings.HasPrefix(string(d.FullName()), "google.protobuf.") {
		return "", false // well-known types have a JSON of their own
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return "", false
	}
	for dec.More() {
		t, err := dec.Token()
		name, isName := t.(string)
		var raw json.RawMessage
		if err != nil || !isName || dec.Decode(&raw) != nil {
			return "", false
		}
		f := d.Fields().ByJSONName(name)
		if f == nil {
			f = d.Fields().ByTextName(name)
		}
		if f == nil {
			return name, true
		}
		if sub, ok := unknownBelow(raw, f); ok {
			return string(f.Name()) + sub, true
		}
	}
	return "", false
}

// unknownBelow looks into the value of a field; sub begins with [ or a dot.
func unknownBelow(raw json.RawMessage, f protoreflect.FieldDescriptor) (sub string, ok bool) {
	if f.Message() == nil || f.IsMap() {
		return "", false
	}
	if !f.IsList() {
		sub, ok = unknownField(raw, f.Message())
		return "." + sub, ok
	}
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		return "", false
	}
	for i, item := range items {
		if sub, ok := unknownField(item, f.Message()); ok {
			return fmt.Sprintf("[%d].%s", i, sub), true
		}
	}
	return "", false
}

// restCodec is the strict JSON of REST requests. Unlike connect, vanguard sends the details of a codec's error on.
type restCodec struct{ *vanguard.JSONCodec }

func newRESTCodec(res vanguard.TypeResolver) vanguard.Codec {
	c := vanguard.NewJSONCodec(res)
	c.MarshalOptions = marshalJSON
	c.UnmarshalOptions = unmarshalJSON
	return restCodec{c}
}

// Unmarshal implements vanguard.Codec.
func (c restCodec) Unmarshal(data []byte, m proto.Message) error {
	if e := decodeJSON(data, m); e != nil {
		return wireError(e)
	}
	return nil
}

// UnmarshalField implements vanguard.RESTCodec, for bodies that are one field of a request.
func (c restCodec) UnmarshalField(data []byte, m proto.Message, f protoreflect.FieldDescriptor) error {
	if err := c.JSONCodec.UnmarshalField(data, m, f); err != nil {
		return wireError(invalid(string(f.Name()), "%s", jsonErrorPrefix.ReplaceAllString(err.Error(), "")))
	}
	return nil
}

// limitedGzip is a gzip decompressor that stops behind the largest request, so that a small body which unpacks to
// gigabytes costs no more than a large one.
type limitedGzip struct {
	connect.Decompressor
	left int64
}

var errUnpackedTooLarge = errors.New("the unpacked message is too large")

func (g *limitedGzip) Reset(r io.Reader) error {
	g.left = 2 * MaxRequestBytes
	return g.Decompressor.Reset(r)
}

func (g *limitedGzip) Read(p []byte) (int, error) {
	if g.left <= 0 {
		return 0, errUnpackedTooLarge
	}
	n, err := g.Decompressor.Read(p[:min(int64(len(p)), g.left)])
	g.left -= int64(n)
	return n, err
}
