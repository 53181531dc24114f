package fsm

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// marshal encodes a record or a result. Records have neither maps nor unknown fields, so the bytes are a function of
// the value; Deterministic says so once more.
type protoMessage = proto.Message

func marshal(m proto.Message) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, faultf(CauseInvariant, "encode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return b, nil
}

// unmarshal decodes a stored record. Bytes that don't parse, and fields that this version does not know, are corruption:
// a newer version's state is never read by an older one (storage's format marker stands before).
func unmarshal(b []byte, m proto.Message) error {
	if err := proto.Unmarshal(b, m); err != nil {
		return corruptf("decode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	if err := checkKnown(m.ProtoReflect()); err != nil {
		return corruptf("decode: %w", err)
	}
	return nil
}

// checkKnown fails for a field that this version does not know, anywhere in m.
func checkKnown(m protoreflect.Message) error {
	if len(m.GetUnknown()) > 0 {
		return fmt.Errorf("%s has unknown fields", m.Descriptor().FullName())
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if fd.Message() == nil || !m.Has(fd) {
			continue
		}
		if !fd.IsList() {
			if err := checkKnown(m.Get(fd).Message()); err != nil {
				return err
			}
			continue
		}
		list := m.Get(fd).List()
		for j := range list.Len() {
			if err := checkKnown(list.Get(j).Message()); err != nil {
				return err
			}
		}
	}
	return nil
}
