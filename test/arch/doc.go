// Package arch holds the architecture's rules as tests: who may import whom,
// where unsafe code may be, what a library must not do, how many files of a
// package may refer to each other in a circle, whether the names that the pages
// give exist, and what lies at the top of the repository. The rules are those of
// ARCHITECTURE.md; a failure says which rule was broken, where, and why the rule
// is there.
//
// Imports are read from the syntax of every Go file, whatever its build
// constraints, and a second time as package loading sees them, through all
// dependencies. The package has no code but its tests.
package arch
