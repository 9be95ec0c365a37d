// Package version says which version of Tranche a program is. Nothing else does.
package version

// Version is that of the next release, with -dev until it is made.
const Version = "0.1.0-dev"
