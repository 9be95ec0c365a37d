// Package models is the vocabulary of Tranche: what is stored or crosses packages, identities, and the errors of the domain.
//
// It is the leaf of the import tree and holds no behaviour that needs a clock, a database or a goroutine.
// The words are those of docs/protocol.md; one word means one thing in code, API, logs and tables alike.
//
// Units are always int64 and never negative in an Entry; what a kind does with them is said by package ledger.
// Instants that the database orders are [Micros], taken from the database's clock (see there why they are not time.Time).
//
// Structs that are rows carry gorm tags; none carries json tags, because the HTTP shapes belong to package api.
package models
