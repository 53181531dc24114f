package authz

// Considered is one grant that Explain looked at, and why it did or did not apply.
type Considered struct {
	Agent   *Agent // the agent that was asked
	Grant   Grant
	Depth   int    // delegations on the path from the request's agent, the grant's own included; 0: its own list
	Applies bool   // the answer rests on it
	Code    Code   // what it gives on its own or through its givers; 0: it doesn't match or doesn't count
	Why     string // for people
}

// maxExplained bounds the grants listed that have no part in the decision.
const maxExplained = 1000

const (
	whyNoMatch  = "it does not match the resource and the action"
	whyShadowed = "it matches, but an earlier permission of the list matches too and decides alone"
)

// Explain decides as Decide does, by the same code, but counts nothing, and lists the grants in the order in which they
// were considered. An agent that is asked twice is listed once. With an error the list tells how far it got.
func Explain(src Source, q *Request) ([]Considered, Verdict, error) {
	var v Verdict
	var rec recorder
	err := decide(src, q, &rec, &v)
	if err == nil && v.Allowed() {
		rec.applies()
	}
	return rec.rows, v, err
}

// recorder listens to a search. A nil one hears nothing.
type recorder struct {
	rows []Considered
	open []int // rows of the delegations on the present path
	last int   // row of the own permission asked last
}

func (r *recorder) reset() { *r = recorder{} }

// idle adds a row without part in the decision.
func (r *recorder) idle(c Considered) {
	if len(r.rows) < maxExplained {
		r.rows = append(r.rows, c)
	}
}

// own hears how an agent's own list decided; i is -1 if nothing matched.
func (r *recorder) own(s *search, agent *Agent, i int, d *denial) {
	if r == nil {
		return
	}
	for j := range agent.Len() {
		c := Considered{Agent: agent, Grant: Grant{Holder: agent, Ordinal: j}, Depth: s.n}
		switch e := agent.perms.entry(j); {
		case j == i:
			c.Code, c.Why = verdictOf(d)
			r.last = len(r.rows)
			r.rows = append(r.rows, c)
		case i >= 0 && j > i && Match(e.resource, s.q.Resource) && e.grants(s.q.Action):
			c.Why = whyShadowed
			r.idle(c)
		default:
			c.Why = whyNoMatch
			r.idle(c)
		}
	}
}

func verdictOf(d *denial) (Code, string) {
	if d.code == 0 {
		return Allowed, "it matches and its constraints hold"
	}
	return d.code, sentence(d.code, &d.detail)
}

// skipped hears of a delegation that doesn't count or doesn't match.
func (r *recorder) skipped(s *search, del *Delegation, why string) {
	if r == nil {
		return
	}
	for i := range del.Len() {
		r.idle(Considered{Agent: s.holders[s.n], Grant: Grant{Delegation: del, Ordinal: i}, Depth: s.n + 1, Why: why})
	}
}

// judged hears of a delegation whose own constraints deny.
func (r *recorder) judged(s *search, i int, d *denial) {
	if r == nil {
		return
	}
	code, why := verdictOf(d)
	r.rows = append(r.rows, Considered{Agent: s.holders[s.n-1], Grant: Grant{Delegation: s.path[s.n-1], Ordinal: i}, Depth: s.n, Code: code, Why: why})
}

// passed hears that a delegation holds and its giver is asked now.
func (r *recorder) passed(s *search, i int, giver *Agent) {
	if r == nil {
		return
	}
	r.open = append(r.open, len(r.rows))
	r.rows = append(r.rows, Considered{
		Agent: s.holders[s.n-1], Grant: Grant{Delegation: s.path[s.n-1], Ordinal: i}, Depth: s.n, Code: Allowed,
		Why: `it matches, its constraints hold, and its giver "` + giver.Name + `" is allowed this call`,
	})
}

// failed hears that the giver asked last would not be allowed.
func (r *recorder) failed(d *denial) {
	if r == nil {
		return
	}
	row := &r.rows[r.open[len(r.open)-1]]
	r.open = r.open[:len(r.open)-1]
	row.Code, row.Why = d.code, "its giver is not allowed this call: "+sentence(d.code, &d.detail)
}

// applies marks the rows that the allowing answer rests on.
func (r *recorder) applies() {
	for _, i := range r.open {
		r.rows[i].Applies = true
	}
	r.rows[r.last].Applies = true
}
