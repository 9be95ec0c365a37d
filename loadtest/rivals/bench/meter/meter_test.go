package meter

import (
	"os"
	"syscall"
	"testing"
	"time"
)

func TestCPUOfAProcessWithAnOddName(t *testing.T) {
	stat := "4711 (a) (b c) S 1 4711 4711 0 -1 4194560 1 2 3 4 150 25 7 8 20 0 9 0 100 1 2"
	got, err := cpuOf([]byte(stat))
	if err != nil || got != 1750*time.Millisecond {
		t.Errorf("%v (%v)", got, err)
	}
	for _, bad := range []string{"", "1 (x) S 1", "4711 (a) S 1 4711 4711 0 -1 4194560 1 2 3 4 x 25 7"} {
		if _, err := cpuOf([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestPeakMemory(t *testing.T) {
	got, err := peakOf("Name:\tx\nVmPeak:\t  999 kB\nVmHWM:\t  2048 kB\nVmRSS:\t 1024 kB\n")
	if err != nil || got != 2<<20 {
		t.Errorf("%d (%v)", got, err)
	}
	if _, err := peakOf("Name:\tx\n"); err == nil {
		t.Error("a status without memory was taken")
	}
}

func TestThisProcess(t *testing.T) {
	if _, err := CPU(os.Getpid()); err != nil {
		t.Error(err)
	}
	if bytes, err := PeakMemory(os.Getpid()); err != nil || bytes < 1<<20 {
		t.Errorf("%d (%v)", bytes, err)
	}
}

func TestAPeakIsForgotten(t *testing.T) {
	const size = 64 << 20
	memory, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < size; i += os.Getpagesize() {
		memory[i] = 1
	}
	if err := syscall.Munmap(memory); err != nil {
		t.Fatal(err)
	}
	before, err := PeakMemory(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := ForgetPeakMemory(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if after, err := PeakMemory(os.Getpid()); err != nil || after > before-size/2 {
		t.Errorf("%d bytes, then %d (%v)", before, after, err)
	}
}
