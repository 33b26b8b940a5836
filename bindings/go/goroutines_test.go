// SPDX-License-Identifier: Apache-2.0

// Many goroutines on one context: right results, and nobody ever sees another's error; closing under way is an error.

package flashcore

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func TestGoroutinesNeverSeeEachOthersErrors(t *testing.T) {
	onEachDevice(t, func(t *testing.T, c *Context) {
		const workers, rounds = 16, 200
		var group sync.WaitGroup
		for worker := 0; worker < workers; worker++ {
			group.Add(1)
			go func(worker int) {
				defer group.Done()
				data := random[Float16]((3+worker)*2*64, int64(worker))
				input, err := Upload(c, data)
				output, err2 := Zeros[Float16](c, len(data))
				stream, err3 := c.NewStream()
				if err != nil || err2 != nil || err3 != nil {
					t.Error(err, err2, err3)
					return
				}
				tensor := input.Tensor(1, 3+worker, 2, 64)
				a := Attention{Query: tensor, Key: tensor, Value: tensor, Output: output.Tensor(1, 3+worker, 2, 64)}
				var first []Float16
				for round := 0; round < rounds; round++ {
					a.Kernel = fmt.Sprintf("no_kernel_%d_%d", worker, round) // a name that nobody else has
					err := c.Forward(&a, stream)
					runtime.Gosched() // perhaps wake up on another thread
					var e *Error
					if !errors.As(err, &e) || e.Field != "kernel" || !strings.Contains(e.Message, a.Kernel) {
						t.Errorf("%s is another's: %v", a.Kernel, err)
						return
					}
					if round%20 != 0 {
						continue
					}
					a.Kernel = ""
					err = c.Forward(&a, stream)
					err2 := stream.Synchronize()
					result, err3 := ReadAll[Float16](output)
					if err != nil || err2 != nil || err3 != nil {
						t.Error(err, err2, err3)
						return
					}
					if first == nil {
						first = result
					}
					if largestDifference(first, result) != 0 {
						t.Error("not the same bits every time")
					}
				}
				// Alone, and on the default stream, the result must be the same.
				a.Kernel = ""
				if err := c.Forward(&a, nil); err != nil {
					t.Error(err)
				}
				if result, err := ReadAll[Float16](output); err != nil || largestDifference(first, result) != 0 {
					t.Error("another result alone", err)
				}
			}(worker)
		}
		group.Wait()
	})
}

func TestClosingUnderWayIsAnErrorAndNotACrash(t *testing.T) {
	for attempt := 0; attempt < 20; attempt++ {
		c := open(t, Options{Device: CPU, CPUThreads: 1})
		buffer := must[*Buffer](t)(Zeros[Float16](c, 4*64))
		output := must[*Buffer](t)(Zeros[Float16](c, 4*64))
		var group sync.WaitGroup
		started := make(chan struct{}, 4)
		for worker := 0; worker < 4; worker++ {
			group.Add(1)
			go func(worker int) {
				defer group.Done()
				tensor := buffer.Tensor(1, 4, 1, 64)
				host := make([]Float16, 4*64)
				a := Attention{Query: tensor, Key: tensor, Value: tensor, Output: Host(host, 1, 4, 1, 64)}
				if worker == 0 {
					a.Output = output.Tensor(1, 4, 1, 64)
				}
				started <- struct{}{}
				for {
					err := c.Forward(&a, nil)
					if err == nil {
						_, err = ReadAll[Float16](buffer)
					}
					if err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Error(err)
						}
						return
					}
				}
			}(worker)
		}
		for worker := 0; worker < 4; worker++ {
			<-started
		}
		if attempt%2 == 0 {
			if err := buffer.Free(); err != nil {
				t.Error(err)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		group.Wait()
	}
}
