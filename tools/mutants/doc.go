// Command mutants breaks the code on purpose and sees that a test notices.
//
// It reads testdata/mutants/AREA/NAME.yaml. Each file says what to break, why that matters, and which test of which
// package must fail. The test is first run on the source as it is, where it must pass, then on the broken source, laid
// over the real one by the go command's -overlay flag, where it must fail within the time limit. A mutant that does not
// compile, whose place in the source is gone, or whose test hangs is not caught: it is an error of its own kind, so that
// a mutant can't decay in silence.
//
// It owns no state: all that it writes goes to a temporary folder. A crash leaves that folder and nothing else. One
// mutant runs at a time, because the time to catch is part of the answer.
package main
