// Package storetest says what a ledger store must do, as a test suite, and holds the in-memory store that passes it.
//
// # The suite
//
// [Run] puts a [Store] through every method: what each call writes, what it refuses, what repeating it does, and what many of
// them at once do to the books. The SQL store runs it on each database and isolation level, the [Fake] runs it too.
// A behaviour that callers rely on belongs here, so that no two stores can differ in it.
//
// # The fake
//
// [Fake] keeps the same rows in maps behind one mutex and decides with the same pure functions (package ledger). It is the only
// stand-in for the database in this project. Because it passes the suite, a test above the store that is green on the fake
// means something. It checks the identities of the books after each write and panics when they are broken: a fake that
// went wrong quietly would hide the caller's mistake. Faults are injected before a call (nothing happened) or after it
// (it happened, and the reply was lost).
//
// # The database of a test
//
// [MySQL] makes a fresh database on the server that TRANCHE_TEST_DSN names and drops it after the test. Without a server the
// test is skipped, loudly, and fails where CI is set: a run that did not test MySQL must not look like one that did.
package storetest
