package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// public is the package that the page is about.
const public = "kavach.v1"

// readImage makes the part of the page about services, messages and enums.
func readImage(raw []byte) (string, error) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(raw, &set); err != nil {
		return "", err
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return "", err
	}
	p := &page{}
	var all []protoreflect.FileDescriptor
	files.RangeFilesByPackage(public, func(f protoreflect.FileDescriptor) bool {
		all = append(all, f)
		return true
	})
	if len(all) == 0 {
		return "", errors.New("no file of package " + public)
	}
	slices.SortFunc(all, func(a, b protoreflect.FileDescriptor) int { return strings.Compare(a.Path(), b.Path()) })
	for _, f := range all {
		for i := range f.Services().Len() {
			p.service(f.Services().Get(i))
		}
	}
	p.printf("## Messages\n\n")
	for _, f := range all {
		for i := range f.Messages().Len() {
			if m := f.Messages().Get(i); !p.shown[m.FullName()] {
				p.message(m)
			}
		}
	}
	p.printf("## Enums\n\n")
	for _, f := range all {
		for i := range f.Enums().Len() {
			p.enum(f.Enums().Get(i))
		}
	}
	return strings.TrimRight(p.text.String(), "\n") + "\n", nil
}

// page gathers the text. Requests and responses stand at their method and are not repeated.
type page struct {
	text  strings.Builder
	shown map[protoreflect.FullName]bool
}

func (p *page) printf(format string, args ...any) { fmt.Fprintf(&p.text, format, args...) }

// comment gives what stands before a descriptor, as one paragraph.
func comment(d protoreflect.Descriptor) string {
	return strings.Join(strings.Fields(d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments), " ")
}

func (p *page) service(s protoreflect.ServiceDescriptor) {
	p.printf("## %s\n\n%s\n\n", s.Name(), comment(s))
	for i := range s.Methods().Len() {
		m := s.Methods().Get(i)
		p.printf("### %s\n\n%s\n\n", m.Name(), comment(m))
		if rule := route(m); rule != "" {
			p.printf("    %s\n", rule)
		}
		p.printf("    POST /%s/%s\n\n", s.FullName(), m.Name())
		if m.IsStreamingServer() {
			p.printf("The answer is a stream.\n\n")
		}
		p.fields("Request", m.Input())
		p.fields("Response", m.Output())
	}
}

// route gives the REST path of a method.
func route(m protoreflect.MethodDescriptor) string {
	rule, ok := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
	if !ok || rule == nil {
		return ""
	}
	switch pattern := rule.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		return "GET " + pattern.Get
	case *annotations.HttpRule_Put:
		return "PUT " + pattern.Put
	case *annotations.HttpRule_Post:
		return "POST " + pattern.Post
	case *annotations.HttpRule_Delete:
		return "DELETE " + pattern.Delete
	case *annotations.HttpRule_Patch:
		return "PATCH " + pattern.Patch
	}
	return ""
}

func (p *page) message(m protoreflect.MessageDescriptor) {
	p.printf("### %s\n\n%s\n\n", m.Name(), comment(m))
	p.fields("", m)
}

// fields writes the table of a message's fields.
func (p *page) fields(title string, m protoreflect.MessageDescriptor) {
	if p.shown == nil {
		p.shown = map[protoreflect.FullName]bool{}
	}
	p.shown[m.FullName()] = true
	if title != "" {
		title = "**" + title + "** "
	}
	if m.Fields().Len() == 0 {
		p.printf("%sis empty.\n\n", title)
		return
	}
	p.printf("| %sfield | type | |\n| --- | --- | --- |\n", title)
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		text := comment(f)
		if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
			text = fmt.Sprintf("(one of `%s`) %s", o.Name(), text)
		}
		if limits := constraints(f); limits != "" {
			text += " *" + limits + "*"
		}
		p.printf("| `%s` | %s | %s |\n", f.Name(), typeOf(f), oneLine(text))
	}
	p.printf("\n")
}

// typeOf names a field's type, with a link to what stands on this page.
func typeOf(f protoreflect.FieldDescriptor) string {
	name := f.Kind().String()
	var d protoreflect.Descriptor
	if f.Message() != nil {
		d = f.Message()
	} else if f.Enum() != nil {
		d = f.Enum()
	}
	if d != nil {
		name = string(d.Name())
		if d.ParentFile().Package() == public {
			name = fmt.Sprintf("[%s](#%s)", name, strings.ToLower(name))
		}
	}
	if f.IsList() {
		name = "list of " + name
	}
	return name
}

// constraints tells the limits that protovalidate checks, in the words of its rules.
func constraints(f protoreflect.FieldDescriptor) string {
	rules, ok := proto.GetExtension(f.Options(), validate.E_Field).(*validate.FieldRules)
	if !ok || rules == nil {
		return ""
	}
	var limits []string
	if rules.GetRequired() {
		limits = append(limits, "required")
	}
	limits = append(limits, leaves("", rules.ProtoReflect())...)
	return strings.Join(limits, ", ")
}

// leaves lists the scalar rules that are set, as max_bytes 256; items.… for those about the entries of a list.
func leaves(prefix string, m protoreflect.Message) []string {
	var found []string
	for i := range m.Descriptor().Fields().Len() {
		f := m.Descriptor().Fields().Get(i)
		name := string(f.Name())
		if !m.Has(f) || name == "required" || name == "ignore" || name == "defined_only" {
			continue
		}
		switch {
		case f.IsList() || f.IsMap():
			continue // not_in [0] of enums: the comment says it
		case f.Message() != nil && f.Message().FullName() == "google.protobuf.Duration":
			d := m.Get(f).Message()
			seconds := d.Get(d.Descriptor().Fields().ByName("seconds")).Int()
			nanos := d.Get(d.Descriptor().Fields().ByName("nanos")).Int()
			found = append(found, fmt.Sprintf("%s%s %s", prefix, name, time.Duration(seconds*1e9+nanos)))
		case f.Message() != nil:
			next := prefix
			if name == "items" {
				next += "each "
			}
			found = append(found, leaves(next, m.Get(f).Message())...)
		default:
			found = append(found, fmt.Sprintf("%s%s %v", prefix, name, m.Get(f).Interface()))
		}
	}
	return found
}

func (p *page) enum(e protoreflect.EnumDescriptor) {
	p.printf("### %s\n\n%s\n\n| value | |\n| --- | --- |\n", e.Name(), comment(e))
	for i := range e.Values().Len() {
		v := e.Values().Get(i)
		p.printf("| `%s` | %s |\n", v.Name(), oneLine(comment(v)))
	}
	p.printf("\n")
}
