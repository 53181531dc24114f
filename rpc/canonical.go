package rpc

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/structpb"
)

// maxJSONDepth bounds how deep arguments and metadata may nest.
const maxJSONDepth = 100

// jsonError is a problem of a JSON text, with the path to it below the text's own field.
type jsonError struct {
	path string // as .a.b[2]; empty: the text as a whole
	msg  string
}

func (e *jsonError) Error() string { return e.path + ": " + e.msg }

// below puts the step to the member or item in which err happened before its path.
func below(err error, step string) error {
	if e, ok := errors.AsType[*jsonError](err); ok {
		e.path = step + e.path
	}
	return err
}

// member is one member of a JSON object: its name, and its value in canonical form. text is the value if it is a string.
type member struct {
	name     string
	raw      []byte
	isString bool
	text     string
}

// canonicalObject parses text, which must be one JSON object, and returns it in the form of RFC 8785 together with its
// top-level members in the order of that form. Numbers deviate in one point: an integer literal keeps all its digits,
// where the RFC would round it to a double. Names that stand twice, invalid UTF-8, lone surrogates and numbers outside
// the range of a double are errors.
func canonicalObject(text string) ([]byte, []member, error) {
	p := parser{text: text}
	p.space()
	if p.peek() != '{' {
		return nil, nil, &jsonError{msg: "must be a JSON object"}
	}
	members, err := p.object(0)
	if err != nil {
		return nil, nil, err
	}
	if p.space(); p.at != len(p.text) {
		return nil, nil, p.fail("something follows the object")
	}
	return appendObject(nil, members), members, nil
}

// canonicalStruct is canonicalObject for a Struct, whose numbers are doubles.
func canonicalStruct(s *structpb.Struct) ([]byte, []member, error) {
	members, err := structMembers(s, 0)
	if err != nil {
		return nil, nil, err
	}
	return appendObject(nil, members), members, nil
}

// sortMembers puts members into RFC 8785's order, by UTF-16 code units, and finds names that stand twice.
func sortMembers(members []member) error {
	slices.SortFunc(members, func(a, b member) int { return compareUTF16(a.name, b.name) })
	for i := 1; i < len(members); i++ {
		if members[i].name == members[i-1].name {
			return &jsonError{path: "." + members[i].name, msg: "stands twice"}
		}
	}
	return nil
}

// compareUTF16 compares by UTF-16 code units. It differs from the order of bytes only where a character outside the
// basic plane meets one of U+E000 to U+FFFF.
func compareUTF16(a, b string) int {
	for a != "" && b != "" {
		ra, na := utf8.DecodeRuneInString(a)
		rb, nb := utf8.DecodeRuneInString(b)
		if ra != rb {
			return int(firstUnit(ra)) - int(firstUnit(rb)) + tieUnit(ra, rb)
		}
		a, b = a[na:], b[nb:]
	}
	return len(a) - len(b)
}

func firstUnit(r rune) rune {
	if hi, _ := utf16.EncodeRune(r); hi != utf8.RuneError {
		return hi
	}
	return r
}

// tieUnit orders two characters that share their high surrogate.
func tieUnit(a, b rune) int {
	if firstUnit(a) != firstUnit(b) {
		return 0
	}
	return int(a) - int(b)
}

func appendObject(dst []byte, members []member) []byte {
	dst = append(dst, '{')
	for i, m := range members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, m.name)
		dst = append(dst, ':')
		dst = append(dst, m.raw...)
	}
	return append(dst, '}')
}

// appendString writes s as RFC 8785 3.2.2.2 asks: the short escapes, \u00xx for other controls, all else as it is.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\t':
			dst = append(dst, '\\', 't')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\r':
			dst = append(dst, '\\', 'r')
		default:
			if c < 0x20 {
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			} else {
				dst = append(dst, c)
			}
		}
	}
	return append(dst, '"')
}

// appendDouble writes f as ECMAScript does (RFC 8785 3.2.2.3).
func appendDouble(dst []byte, f float64) []byte {
	if f == 0 {
		return append(dst, '0') // -0 too
	}
	if abs := math.Abs(f); abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	// Go writes two digits of exponent at least, ECMAScript as few as it can.
	if n := len(dst); dst[n-2] == '0' && (dst[n-3] == '-' || dst[n-3] == '+') {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

func structMembers(s *structpb.Struct, depth int) ([]member, error) {
	members := make([]member, 0, len(s.GetFields()))
	for name, v := range s.GetFields() { // sorted below
		m := member{name: name}
		var err error
		if m.raw, err = appendValue(nil, v, depth+1); err != nil {
			return nil, below(err, "."+name)
		}
		if text, ok := v.GetKind().(*structpb.Value_StringValue); ok {
			m.isString, m.text = true, text.StringValue
		}
		members = append(members, m)
	}
	return members, sortMembers(members)
}

func appendValue(dst []byte, v *structpb.Value, depth int) ([]byte, error) {
	if depth > maxJSONDepth {
		return nil, errTooDeep()
	}
	switch v := v.GetKind().(type) {
	case *structpb.Value_NullValue:
		return append(dst, "null"...), nil
	case *structpb.Value_BoolValue:
		return strconv.AppendBool(dst, v.BoolValue), nil
	case *structpb.Value_NumberValue:
		if math.IsNaN(v.NumberValue) || math.IsInf(v.NumberValue, 0) {
			return nil, &jsonError{msg: "is not a number that JSON has"}
		}
		return appendDouble(dst, v.NumberValue), nil
	case *structpb.Value_StringValue:
		return appendString(dst, v.StringValue), nil
	case *structpb.Value_ListValue:
		dst = append(dst, '[')
		for i, item := range v.ListValue.GetValues() {
			if i > 0 {
				dst = append(dst, ',')
			}
			var err error
			if dst, err = appendValue(dst, item, depth+1); err != nil {
				return nil, below(err, "["+strconv.Itoa(i)+"]")
			}
		}
		return append(dst, ']'), nil
	case *structpb.Value_StructValue:
		members, err := structMembers(v.StructValue, depth)
		if err != nil {
			return nil, err
		}
		return appendObject(dst, members), nil
	default:
		return nil, &jsonError{msg: "has no value"}
	}
}

// parser reads JSON strictly (RFC 8259) and writes it in canonical form as it goes.
type parser struct {
	text string
	at   int
}

func errTooDeep() error {
	return &jsonError{msg: fmt.Sprintf("nests deeper than %d levels", maxJSONDepth)}
}

func (p *parser) fail(what string) error {
	return &jsonError{msg: fmt.Sprintf("%s at byte %d", what, p.at)}
}

func (p *parser) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// peek returns the next byte, 0 at the end.
func (p *parser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *parser) take(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.at++
	return true
}

// value parses the next value and appends its canonical form. If it is a string, text is what it says.
func (p *parser) value(dst []byte, depth int) (out []byte, text string, isString bool, err error) {
	if depth > maxJSONDepth {
		return nil, "", false, errTooDeep()
	}
	switch c := p.peek(); {
	case c == '{':
		members, err := p.object(depth)
		return appendObject(dst, members), "", false, err
	case c == '[':
		out, err = p.array(dst, depth)
		return out, "", false, err
	case c == '"':
		text, err = p.str()
		return appendString(dst, text), text, true, err
	case c == '-' || c >= '0' && c <= '9':
		out, err = p.number(dst)
		return out, "", false, err
	}
	for _, word := range []string{"true", "false", "null"} {
		if len(p.text)-p.at >= len(word) && p.text[p.at:p.at+len(word)] == word {
			p.at += len(word)
			return append(dst, word...), "", false, nil
		}
	}
	return nil, "", false, p.fail("no JSON value")
}

func (p *parser) object(depth int) ([]member, error) {
	p.at++ // {
	var members []member
	if p.space(); p.take('}') {
		return members, nil
	}
	for {
		p.space()
		if p.peek() != '"' {
			return nil, p.fail("no name")
		}
		name, err := p.str()
		if err != nil {
			return nil, err
		}
		if p.space(); !p.take(':') {
			return nil, p.fail("no colon")
		}
		p.space()
		m := member{name: name}
		if m.raw, m.text, m.isString, err = p.value(nil, depth+1); err != nil {
			return nil, below(err, "."+name)
		}
		members = append(members, m)
		p.space()
		if p.take('}') {
			return members, sortMembers(members)
		}
		if !p.take(',') {
			return nil, p.fail("no comma and no end of the object")
		}
	}
}

func (p *parser) array(dst []byte, depth int) ([]byte, error) {
	p.at++ // [
	dst = append(dst, '[')
	if p.space(); p.take(']') {
		return append(dst, ']'), nil
	}
	for i := 0; ; i++ {
		p.space()
		var err error
		if dst, _, _, err = p.value(dst, depth+1); err != nil {
			return nil, below(err, "["+strconv.Itoa(i)+"]")
		}
		p.space()
		if p.take(']') {
			return append(dst, ']'), nil
		}
		if !p.take(',') {
			return nil, p.fail("no comma and no end of the array")
		}
		dst = append(dst, ',')
	}
}

// str parses a string and returns what it says.
func (p *parser) str() (string, error) {
	p.at++ // "
	start := p.at
	for p.at < len(p.text) { // most strings have no escape: no copy
		switch c := p.text[p.at]; {
		case c == '"':
			s := p.text[start:p.at]
			if !utf8.ValidString(s) {
				return "", p.fail("invalid UTF-8")
			}
			p.at++
			return s, nil
		case c == '\\':
			return p.escaped(start)
		case c < 0x20:
			return "", p.fail("a control character in a string")
		}
		p.at++
	}
	return "", p.fail("a string without an end")
}

// escaped parses the rest of a string that began at start, from its first escape on.
func (p *parser) escaped(start int) (string, error) {
	buf := []byte(p.text[start:p.at])
	for p.at < len(p.text) {
		c := p.text[p.at]
		switch {
		case c == '"':
			p.at++
			if !utf8.Valid(buf) {
				return "", p.fail("invalid UTF-8")
			}
			return string(buf), nil
		case c < 0x20:
			return "", p.fail("a control character in a string")
		case c != '\\':
			buf = append(buf, c)
			p.at++
		default:
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			buf = utf8.AppendRune(buf, r)
		}
	}
	return "", p.fail("a string without an end")
}

// escape parses one escape, or a pair that makes one character.
func (p *parser) escape() (rune, error) {
	p.at++ // backslash
	c := p.peek()
	if c == 'u' {
		return p.unicode()
	}
	p.at++
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	}
	return 0, p.fail("a malformed escape")
}

// unicode parses uXXXX, and the second one of a surrogate pair.
func (p *parser) unicode() (rune, error) {
	r, ok := p.unit()
	if !ok {
		return 0, p.fail("a malformed escape")
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if p.take('\\') && p.peek() == 'u' {
		low, ok := p.unit()
		if pair := utf16.DecodeRune(r, low); ok && pair != utf8.RuneError {
			return pair, nil
		}
	}
	return 0, p.fail("half a surrogate pair")
}

// unit parses uXXXX.
func (p *parser) unit() (rune, bool) {
	if p.at+5 > len(p.text) {
		return 0, false
	}
	n, err := strconv.ParseUint(p.text[p.at+1:p.at+5], 16, 16)
	p.at += 5
	return rune(n), err == nil
}

// number parses a number. An integer literal keeps its digits; all else becomes the nearest double.
func (p *parser) number(dst []byte) ([]byte, error) {
	start, integer := p.at, true
	p.take('-')
	if !p.take('0') && p.digits() == 0 {
		return nil, p.fail("a malformed number")
	}
	if p.take('.') {
		integer = false
		if p.digits() == 0 {
			return nil, p.fail("a malformed number")
		}
	}
	if p.take('e') || p.take('E') {
		integer = false
		if !p.take('-') {
			p.take('+')
		}
		if p.digits() == 0 {
			return nil, p.fail("a malformed number")
		}
	}
	literal := p.text[start:p.at]
	if integer {
		if literal == "-0" {
			literal = "0"
		}
		return append(dst, literal...), nil
	}
	f, err := strconv.ParseFloat(literal, 64)
	if errors.Is(err, strconv.ErrRange) {
		return nil, p.fail("a number outside the range of a double")
	}
	return appendDouble(dst, f), nil
}

func (p *parser) digits() (n int) {
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.at++
		n++
	}
	return n
}
