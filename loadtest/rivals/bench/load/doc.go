// Package load sends redemptions, each with a fresh key and a fresh user.
//
// Closed is a loop of so many connections, each of which sends its next request when it has its last answer: it finds out how much a server
// can do. wrk runs it, since it costs least of the machine that it shares with what it measures. Its latencies belong to a server that
// is as busy as can be, and leave out the time that requests would have waited for a free connection.
//
// Open sends at a fixed rate, whatever the answers do, and measures each from the moment at which it was due: a server that stops for a
// second has a second's worth of late answers, not one. That is the latency customers see.
package load
