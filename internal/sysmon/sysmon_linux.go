package sysmon

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// calmSlack is a compromise: the longer, the longer may a stuck thread keep one of Go's processors from the others, too.
	calmSlack  = 400 * time.Microsecond
	usualSlack = 50 * time.Microsecond
)

func calm() error {
	slack, err := getSlack()
	switch {
	case err != nil:
		return err
	case slack == calmSlack:
		return loseSlack()
	default:
		return executeAgain()
	}
}

// executeAgain returns only if it fails.
func executeAgain() error {
	runtime.LockOSThread() // the thread that calls execve is the one that is left
	defer runtime.UnlockOSThread()
	err := setSlack(calmSlack)
	if err == nil {
		err = execute()
	}
	return fmt.Errorf("executing the program again: %w", errors.Join(err, setSlack(usualSlack)))
}

func execute() error {
	// A thread with a real-time policy has no slack, and is not told so: such a process would execute itself for ever.
	switch slack, err := getSlack(); {
	case err != nil:
		return err
	case slack != calmSlack:
		return fmt.Errorf("the thread's timer slack stays at %v", slack)
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(program, os.Args, os.Environ())
}

// loseSlack takes the slack from all threads but sysmon, as far as they are there: it needs so many at once that all idle ones are among them.
func loseSlack() error {
	n := 2*pprof.Lookup("threadcreate").Count() + runtime.GOMAXPROCS(0)
	return onThreads(n, func() error { return setSlack(usualSlack) })
}

// onThreads calls do on n threads that are held until all have, the caller's among them.
func onThreads(n int, do func() error) error {
	errs := make(chan error, n)
	var together sync.WaitGroup
	together.Add(n)
	once := func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		errs <- do()
		together.Done()
		together.Wait()
	}
	for range n - 1 {
		go once()
	}
	once()
	var err error
	for range n {
		err = errors.Join(err, <-errs)
	}
	return err
}

// getSlack gives the calling thread's.
func getSlack() (time.Duration, error) {
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		return 0, fmt.Errorf("asking for the timer slack: %w", err)
	}
	return time.Duration(slack), nil
}

func setSlack(slack time.Duration) error {
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0); err != nil {
		return fmt.Errorf("setting a timer slack of %v: %w", slack, err)
	}
	return nil
}
