package client

import (
	"crypto/rand"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

// kind says when a call may be repeated.
type kind int

const (
	reading kind = iota // a read or a decision: always
	keyed               // a mutation with an idempotency key: always, with the same key
	oneShot             // a mutation without: only if nothing was done
)

// method is what the client must know of a procedure, taken from the schema.
type method struct {
	procedure   string
	kind        kind
	key         protoreflect.FieldDescriptor   // the request's idempotency; nil: none
	consistency protoreflect.FieldDescriptor   // the request's; nil: none
	revision    []protoreflect.FieldDescriptor // the way to the answer's; empty: none
}

// methods returns every procedure of the API by its name.
func methods() map[string]*method {
	all := map[string]*method{}
	for _, file := range []protoreflect.FileDescriptor{
		kavachv1.File_kavach_v1_agent_proto, kavachv1.File_kavach_v1_authorization_proto, kavachv1.File_kavach_v1_delegation_proto,
		kavachv1.File_kavach_v1_audit_proto, kavachv1.File_kavach_v1_access_proto, kavachv1.File_kavach_v1_cluster_proto,
	} {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				m := describe(service, service.Methods().Get(j))
				all[m.procedure] = m
			}
		}
	}
	return all
}

func describe(service protoreflect.ServiceDescriptor, d protoreflect.MethodDescriptor) *method {
	m := &method{procedure: fmt.Sprintf("/%s/%s", service.FullName(), d.Name()), kind: oneShot}
	m.key = field(d.Input(), "idempotency", protoreflect.MessageKind)
	m.consistency = field(d.Input(), "consistency", protoreflect.MessageKind)
	if f := field(d.Output(), "revision", protoreflect.StringKind); f != nil {
		m.revision = []protoreflect.FieldDescriptor{f}
	} else if decision := field(d.Output(), "decision", protoreflect.MessageKind); decision != nil {
		if f := field(decision.Message(), "revision", protoreflect.StringKind); f != nil {
			m.revision = []protoreflect.FieldDescriptor{decision, f}
		}
	}
	options, _ := d.Options().(*descriptorpb.MethodOptions)
	switch {
	case m.key != nil:
		m.kind = keyed
	case options.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS, m.consistency != nil:
		m.kind = reading // what changes state asks for no consistency
	}
	return m
}

func field(d protoreflect.MessageDescriptor, name protoreflect.Name, k protoreflect.Kind) protoreflect.FieldDescriptor {
	if f := d.Fields().ByName(name); f != nil && f.Kind() == k && !f.IsList() {
		return f
	}
	return nil
}

// prepare returns the request as it is sent in every attempt, with its idempotency key. The caller's message is not
// touched: where something is added, it is added to a copy.
func (m *method) prepare(msg proto.Message, atLeast string) (sent proto.Message, key string) {
	r := msg.ProtoReflect()
	if m.key != nil {
		if given, ok := r.Get(m.key).Message().Interface().(*kavachv1.Idempotency); ok && given.GetKey() != "" {
			key = given.GetKey()
		} else {
			key = rand.Text()
			msg = proto.Clone(msg)
			r = msg.ProtoReflect()
			r.Set(m.key, protoreflect.ValueOfMessage((&kavachv1.Idempotency{Key: key}).ProtoReflect()))
		}
	}
	if m.consistency != nil && atLeast != "" && unnamed(r.Get(m.consistency).Message()) {
		msg = proto.Clone(msg)
		msg.ProtoReflect().Set(m.consistency, protoreflect.ValueOfMessage(AtLeast(atLeast).ProtoReflect()))
	}
	return msg, key
}

// unnamed tells whether a consistency names no level.
func unnamed(c protoreflect.Message) bool {
	given, ok := c.Interface().(*kavachv1.Consistency)
	return ok && given.GetLevel() == nil
}

// revisionOf returns the revision in an answer; empty: there is none.
func (m *method) revisionOf(answer any) string {
	msg, ok := answer.(proto.Message)
	if !ok || len(m.revision) == 0 {
		return ""
	}
	r := msg.ProtoReflect()
	for _, f := range m.revision[:len(m.revision)-1] {
		r = r.Get(f).Message()
	}
	return r.Get(m.revision[len(m.revision)-1]).String()
}
