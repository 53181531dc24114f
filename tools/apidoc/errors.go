package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
)

// httpStatus is what Connect and REST answer for a code.
var httpStatus = map[string]int{
	"CodeCanceled": 499, "CodeInvalidArgument": 400, "CodeDeadlineExceeded": 504, "CodeNotFound": 404, "CodeAlreadyExists": 409,
	"CodePermissionDenied": 403, "CodeResourceExhausted": 429, "CodeFailedPrecondition": 400, "CodeAborted": 409,
	"CodeUnimplemented": 501, "CodeInternal": 500, "CodeUnavailable": 503, "CodeUnauthenticated": 401,
}

// readErrors makes the table of reasons, from the constants of status.go and the switch of errors.go.
func readErrors(statusFile, errorsFile string) (string, error) {
	codes, err := readCodes(errorsFile)
	if err != nil {
		return "", err
	}
	syntax, err := parser.ParseFile(token.NewFileSet(), statusFile, nil, parser.ParseComments)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("## Errors\n\nEvery error carries `kavach.v1.ErrorDetail`: a stable reason, the fields at fault with their paths, whether the same\n" +
		"request may succeed later, and where. Key on the reason, never on the message.\n")
	for _, d := range syntax.Decls {
		gen, ok := d.(*ast.GenDecl)
		if !ok || gen.Tok != token.CONST {
			continue
		}
		for _, s := range gen.Specs {
			spec, ok := s.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 || !isNamed(spec.Type, "Reason") {
				continue
			}
			literal, ok := spec.Values[0].(*ast.BasicLit)
			if !ok {
				return "", fmt.Errorf("%s: status.%s is not a literal", statusFile, spec.Names[0].Name)
			}
			value, err := strconv.Unquote(literal.Value)
			if err != nil {
				return "", err
			}
			code := codes[spec.Names[0].Name]
			if httpStatus[code] == 0 {
				return "", fmt.Errorf("%s says no code for status.%s", errorsFile, spec.Names[0].Name)
			}
			if spec.Doc != nil { // begins a group
				fmt.Fprintf(&b, "\n%s\n\n| reason | code | HTTP | |\n| --- | --- | --- | --- |\n", oneLine(spec.Doc.Text()))
			}
			fmt.Fprintf(&b, "| %s | %s | %d | %s |\n", value, snake(code), httpStatus[code], oneLine(spec.Comment.Text()))
		}
	}
	return b.String(), nil
}

// readCodes reads which code is returned for which reason: case status.A, status.B: return connect.CodeC.
func readCodes(path string) (map[string]string, error) {
	syntax, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	codes := map[string]string{}
	ast.Inspect(syntax, func(n ast.Node) bool {
		c, ok := n.(*ast.CaseClause)
		if !ok || len(c.Body) != 1 {
			return true
		}
		ret, ok := c.Body[0].(*ast.ReturnStmt)
		if !ok || len(ret.Results) != 1 {
			return true
		}
		code := selected(ret.Results[0], "connect")
		for _, e := range c.List {
			if reason := selected(e, "status"); code != "" && reason != "" {
				codes[reason] = code
			}
		}
		return true
	})
	if len(codes) == 0 {
		return nil, fmt.Errorf("%s: no case that returns a code for a reason", path)
	}
	return codes, nil
}

// selected gives B of pkg.B.
func selected(e ast.Expr, pkg string) string {
	if sel, ok := e.(*ast.SelectorExpr); ok && isNamed(sel.X, pkg) {
		return sel.Sel.Name
	}
	return ""
}

func isNamed(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

// snake turns CodeNotFound into not_found.
func snake(code string) string {
	var b strings.Builder
	for i, r := range strings.TrimPrefix(code, "Code") {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// oneLine makes a comment one line of a table.
func oneLine(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", "\\|")
}
