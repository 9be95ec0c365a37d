// Package api is the HTTP contract: it turns requests into calls of the allocator and of the books, and what they say into JSON.
// It decides nothing about budgets. It is the only package that knows gin, and uses it as a router only.
//
// # The way of a request
//
//	route table ─▶ endpoint: request id ─▶ same-host check ─▶ key and scope ─▶ started? ─▶ query ─▶ handler ─▶ encode ─▶ write ─▶ log, metrics
//
// Handlers are functions from an [exchange] to a reply or an error. One place encodes and writes, so each answer has the same
// headers, and an error is translated in one table (errors.go), logged once, and never both logged and passed on.
//
// # What is refused, and where
//
// Nothing reaches the allocator before all of the request was judged. Bodies are read by our own reader over a strict tokenizer
// instead of into structs: it names every bad field at once where a decoder would stop at the first, tells an absent member from
// a null, refuses 1e3 where an integer is meant, and needs no reflection. A body is at most 64 KiB and [maxDepth] deep.
//
// Paths are matched as they were sent and each segment is unescaped afterwards, because a user id may hold a slash (%2F),
// and because gin's own unescaping turns a plus sign into a space.
//
// # Deadlines
//
// The clock of a request starts when it arrives here. Its context ends RequestTimeout later, or when the client hangs up; a callee must
// by then have decided or dropped it. A call that ends with nothing but the context's own error is answered as "outcome unknown", which is
// true in any case. A client that was seen to hang up gets no answer; the log shows status 499. A body that is not there within the request's
// time is answered with 408, whatever it asks for. An answer to a request whose body nobody has read waits for that for [bodyGrace] only.
//
// # Keys
//
// With keys configured each call needs one, except health, readiness and the API document. Keys are compared as SHA-256 sums,
// in constant time, against all configured ones. With none configured everything is open to programs on this machine; [isLocal] says
// what keeps a web page in its browser out, and those who come through a proxy. The metrics are open to the same programs, with or without
// keys.
//
// # Lists
//
// A page asks the books for one row more than its limit, which tells whether there is another page. It also ends at [maxPageBytes], and
// only [maxPages] are in memory at once: a client may ask for a page and not read it. Cursors are opaque to clients;
// they hold the place of the last row, and a letter that says which list they belong to. In CSV a text that begins with
// = + - @ or a control character gets an apostrophe in front: spreadsheets would run it as a formula, and names, user ids and
// metadata are written by strangers. Numbers are left alone.
//
// # Concurrency
//
// The handler is safe for concurrent use and starts no goroutines. An exchange belongs to the goroutine that serves it.
// All other state is read-only after New, except the request counter, which is safe by itself.
package api
