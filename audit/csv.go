package audit

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
	"github.com/kavachd/kavachd/ids"
)

// csvHeader names the columns: the original's ten, then ours. Users' scripts know them: add at the end only.
const csvHeader = "id,agentId,userId,action,resource,result,reason,durationMs,tokensCost,timestamp," +
	"nodeId,kind,tenant,reasonCode,permissionIndex,permissionId,permissionResource,delegationIds,approvalId," +
	"ip,userAgent,trace,revision,callerKeyId,requestId,count,refusal,parameters,unreplicated\r\n"

// csvTime is how times are written: RFC 3339 in UTC, always with nanoseconds.
const csvTime = "2006-01-02T15:04:05.000000000Z"

// appendCSV appends an entry as a row of RFC 4180. encoding/csv is not used because it changes line breaks inside of
// fields.
func appendCSV(row []byte, f Found) []byte {
	e := f.Entry
	row = cell(row, idText(ids.PrefixAudit, e.GetId()))
	row = cell(row, e.GetAgentId())
	row = cell(row, e.GetOwner())
	row = cell(row, e.GetAction())
	row = cell(row, e.GetResource())
	row = cell(row, enumText(kavachv1.AuditResult(e.GetResult()).String(), "AUDIT_RESULT_"))
	row = cell(row, e.GetReason())
	row = append(strconv.AppendFloat(row, float64(e.GetDuration())/1e6, 'f', -1, 64), ',')
	row = append(row, ',') // tokensCost: the original's, always empty here
	row = append(time.Unix(0, e.GetTime()).UTC().AppendFormat(row, csvTime), ',')
	row = cell(row, e.GetNodeId())
	row = cell(row, enumText(kavachv1.AuditKind(e.GetKind()).String(), "AUDIT_KIND_"))
	row = cell(row, e.GetTenant())
	row = cell(row, strings.TrimPrefix(kavachv1.ReasonCode(e.GetReasonCode()).String(), "REASON_CODE_"))
	g := grant(e)
	if g != nil {
		row = strconv.AppendUint(row, uint64(g.GetPermissionIndex()), 10)
	}
	row = append(row, ',')
	row = cell(row, e.GetPermissionId())
	row = cell(row, e.GetPermissionResource())
	row = cell(row, strings.Join(g.GetDelegationIds(), " "))
	row = cell(row, e.GetApprovalId())
	row = cell(row, e.GetIp())
	row = cell(row, e.GetUserAgent())
	row = cell(row, e.GetTrace())
	row = append(strconv.AppendUint(row, e.GetRevision(), 10), ',')
	row = cell(row, idText(ids.PrefixKey, e.GetCallerKey()))
	row = cell(row, e.GetRequestId())
	row = append(strconv.AppendUint(row, max(e.GetCount(), 1), 10), ',')
	row = cell(row, e.GetRefusal())
	row = cell(row, string(e.GetParameters()))
	return append(strconv.AppendBool(row, f.Unreplicated), "\r\n"...)
}

func enumText(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

// cell appends a text and a comma. A text that a spreadsheet may take for a formula gets an apostrophe in front, and so
// does one that begins with an apostrophe: whoever reads the file back takes one apostrophe away from every text that
// begins with one.
func cell(row []byte, text string) []byte {
	quoted := strings.ContainsAny(text, "\",\r\n")
	if quoted {
		row = append(row, '"')
	}
	if active(text) {
		row = append(row, '\'')
	}
	if quoted {
		for i := range len(text) {
			if text[i] == '"' {
				row = append(row, '"')
			}
			row = append(row, text[i])
		}
		row = append(row, '"')
	} else {
		row = append(row, text...)
	}
	return append(row, ',')
}

// active tells whether a text begins as a formula does, or with our own mark. Some programs take full-width signs for the
// others, and look behind spaces and other characters they don't show.
func active(text string) bool {
	r, _ := utf8.DecodeRuneInString(strings.TrimLeft(text, " \u00a0\u200b\u2060\ufeff\v\f\x00"))
	return text != "" && strings.ContainsRune("=+-@\t\r\n|%'＝＋－＠", r) || strings.HasPrefix(text, "'")
}
