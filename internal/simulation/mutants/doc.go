// Package mutants tests the simulation: it breaks the product's code in one place
// at a time, and checks that a simulated run then breaks a rule. The changes are
// made to copies of the source files, which the Go tool compiles instead of the
// originals (go build -overlay), so the code itself has no switches for them.
package mutants
