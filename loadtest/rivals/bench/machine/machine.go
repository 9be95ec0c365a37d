// Package machine says what the figures of a benchmark belong to.
package machine

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"tranche/loadtest/rivals/bench/meter"
	"tranche/loadtest/rivals/bench/report"
)

// Describe reads what this machine and its database are, and leaves Redis out.
func Describe(ctx context.Context, db *meter.Database) (report.Machine, error) {
	m := report.Machine{Cores: runtime.NumCPU(), Go: strings.Replace(runtime.Version(), "go", "Go ", 1), Date: time.Now().UTC().Truncate(time.Second)}
	var err error
	if m.Database, err = db.Describe(ctx); err != nil {
		return m, err
	}
	m.CPU = valueOf("/proc/cpuinfo", "model name")
	if m.CPU == "" {
		m.CPU = runtime.GOARCH
	}
	kilobytes, _ := strconv.Atoi(strings.TrimSuffix(valueOf("/proc/meminfo", "MemTotal"), " kB"))
	m.MemoryGB = (kilobytes + 1<<19) >> 20
	kernel, err := exec.CommandContext(ctx, "uname", "-r").Output()
	m.Kernel = strings.TrimSpace(string(kernel))
	return m, err
}

// valueOf finds the first line "name: value" of a file.
func valueOf(file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if before, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(before) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
