// Package migrations holds the tables, one set of files per dialect, applied in order of their number.
// A file that has been released is never edited: a change is a new file, in both folders.
package migrations

import "embed"

// Files has one folder per dialect: mysql and sqlite.
//
//go:embed mysql/*.sql sqlite/*.sql
var Files embed.FS
