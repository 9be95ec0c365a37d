// Package sysmon slows down the thread by which the Go runtime watches its others.
//
// That thread, sysmon, wants to look every 20 µs which threads are stuck in a system call, as long as it finds some: with a journal to be
// synced it always does. On virtual machines, where each waking is dear, that took a tenth of a node's processor time.
//
// The runtime has no setting for it. But sysmon sleeps by nanosleep(2), and the kernel may wake a sleeper later by its thread's timer slack,
// 50 µs as a rule, which a thread inherits from the one that starts it, and which execve(2) leaves alone (prctl(2), PR_SET_TIMERSLACK).
package sysmon

// Calm has sysmon look some 2 500 times a second at most; other threads stay as punctual as they are. It is the first thing that a process
// does, for it executes its own program once more, with the same arguments, environment and process id. The second time round sysmon has a
// slack of 400 µs from its first moment, and the other threads give it up.
//
// A few may keep it: those that were busy meanwhile, the one that the runtime has for starting others, and those that sysmon starts later. Such a thread, when it has nothing to do, waits so
// much longer before it takes another one's only goroutine, and does all else as the others do.
//
// Whatever fails, the process goes on as it was, and the error says why. On other systems than Linux there is nothing to do.
func Calm() error { return calm() }
