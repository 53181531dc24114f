// Command compat writes docs/kavachos-compatibility.md: every recorded case of KavachOS that is marked as not to be
// copied, by mark, with the recorded answer, and the rule by which kavachd decides it.
//
// It owns the words of those rules (rules.go) and knows nothing of how a decision is made: that every unmarked case
// holds, and what marked ones give, is for the tests whose names contain Vectors. A mark without a rule, or a rule
// without a case, is an error. It writes one file, as a whole and last: a crash leaves the page as it was.
package main
