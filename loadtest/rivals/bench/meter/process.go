// Package meter reads what a run costs: CPU time and memory of processes from /proc, statements and lock waits from the database.
package meter

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU time in /proc, the same on all of Linux's architectures.
const tick = 10 * time.Millisecond

// CPU gives the CPU time that a process has used so far, in user and in kernel mode.
func CPU(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return cpuOf(stat)
}

// cpuOf reads /proc/PID/stat. The second field is the program's name, in parentheses, and may hold anything.
func cpuOf(stat []byte) (time.Duration, error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const user, system = 14 - 3, 15 - 3 // counted from 1, and three are gone
	if len(fields) <= system {
		return 0, fmt.Errorf("meter: %q is no stat of a process", stat)
	}
	var ticks int64
	for _, field := range [][]byte{fields[user], fields[system]} {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("meter: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// PeakMemory gives the most memory that a process has had resident, in bytes, since it was started or ForgetPeakMemory was called.
func PeakMemory(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return peakOf(string(status))
}

// ForgetPeakMemory makes PeakMemory start anew, with what is resident now.
func ForgetPeakMemory(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

func peakOf(status string) (int64, error) {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kilobytes, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("meter: no VmHWM in the status of a process")
}
