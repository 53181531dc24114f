package rpc

import (
	"errors"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/kavachd/kavachd/authz"
	"github.com/kavachd/kavachd/status"
)

// maxArgumentBytes is SPEC 9's limit, of the text as sent and of the canonical form.
const maxArgumentBytes = 64 << 10

// arguments of a call.
type arguments struct {
	// canonical is the RFC 8785 form, integers exact; empty for a call without arguments.
	canonical []byte
	// top are the top-level members in the order of that form.
	top []authz.Arg
}

// readArguments reads the arguments of a call, of which at most one form is given: an object, or text (which may be "").
// path is where a problem is reported, as checks[3].
func readArguments(object *structpb.Struct, text string, isText bool, path string) (arguments, error) {
	var canonical []byte
	var members []member
	var err error
	field := join(path, "arguments")
	switch {
	case isText:
		field = join(path, "arguments_json")
		if len(text) > maxArgumentBytes {
			return arguments{}, tooLarge(field, len(text))
		}
		canonical, members, err = canonicalObject(text)
	case object != nil:
		canonical, members, err = canonicalStruct(object)
	default:
		return arguments{}, nil
	}
	if err != nil {
		return arguments{}, jsonProblem(field, err)
	}
	if len(canonical) > maxArgumentBytes {
		return arguments{}, tooLarge(field, len(canonical))
	}
	top := make([]authz.Arg, len(members))
	for i, m := range members {
		top[i] = authz.Arg{Name: m.name, Value: m.text, IsString: m.isString}
	}
	return arguments{canonical: canonical, top: top}, nil
}

func tooLarge(field string, size int) error {
	return invalid(field, "has %d bytes as JSON, the limit is %d", size, maxArgumentBytes)
}

// join joins the path of a message and the name of its field.
func join(path, field string) string {
	if path == "" {
		return field
	}
	return path + "." + field
}

// jsonProblem reports a problem inside the JSON of a field.
func jsonProblem(field string, err error) *status.Error {
	if e, ok := errors.AsType[*jsonError](err); ok {
		return invalid(field+cut(e.path, 512), "%s", e.msg)
	}
	return invalid(field, "is not valid")
}
