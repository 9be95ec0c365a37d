// Package version says which version of Tranche a program is. Nothing else does.
package version

// Version is that of the latest release, or of the next one with -dev.
const Version = "0.1.0"
