// Package mutants holds a test that breaks the real code in one place at a
// time and wants the simulation to find it. The mutations are made to copies of
// the files, which the Go tool is told to compile instead (go build -overlay),
// so that nothing of them is in the code.
package mutants
