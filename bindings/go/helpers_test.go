// SPDX-License-Identifier: Apache-2.0

// What the tests share: devices, random numbers, and looking at errors.

package flashcore

import (
	"errors"
	"math"
	"math/rand"
	"strings"
	"testing"
)

func open(t testing.TB, options Options) *Context {
	t.Helper()
	c, err := Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// onEachDevice runs a test on the CPU device and, where there is one, on the first GPU.
func onEachDevice(t *testing.T, test func(t *testing.T, c *Context)) {
	t.Run("cpu", func(t *testing.T) { test(t, open(t, Options{Device: CPU})) })
	t.Run("gpu", func(t *testing.T) {
		needGPU(t)
		test(t, open(t, Options{Device: CUDA}))
	})
}

func needGPU(t testing.TB) {
	t.Helper()
	if count, err := CUDADeviceCount(); err != nil || count == 0 {
		t.Skip("needs an NVIDIA GPU")
	}
}

// half is the part of the two 16-bit types that the tests need.
type half interface{ Float16 | BFloat16 }

func toHalf[T half](value float32) T {
	if dtypeOf[T]() == DTypeFloat16 {
		return T(ToFloat16(value))
	}
	return T(ToBFloat16(value))
}

func toFloat[T half](value T) float64 {
	if dtypeOf[T]() == DTypeFloat16 {
		return float64(Float16(value).Float32())
	}
	return float64(BFloat16(value).Float32())
}

func random[T half](count int, seed int64) []T {
	source, data := rand.New(rand.NewSource(seed)), make([]T, count)
	for i := range data {
		data[i] = toHalf[T](float32(source.NormFloat64()))
	}
	return data
}

func largestDifference[T half](a, b []T) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	largest := 0.0
	for i := range a {
		if d := math.Abs(toFloat(a[i]) - toFloat(b[i])); !(d <= largest) {
			largest = d
		}
	}
	return largest
}

func must[T any](t testing.TB) func(value T, err error) T {
	t.Helper()
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// refused checks that an error has the status, the field and some words.
func refused(t *testing.T, err error, status Status, field string, words ...string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || !errors.Is(err, status) || e.Status != status || e.Field != field {
		t.Errorf("expected %s of %q, not %#v", status.Name(), field, err)
		return
	}
	for _, word := range words {
		if !strings.Contains(e.Message, word) {
			t.Errorf("%q lacks %q", e.Message, word)
		}
	}
	if !strings.HasPrefix(err.Error(), status.Name()+": ") {
		t.Errorf("%q does not begin with the status", err)
	}
}
