// SPDX-License-Identifier: Apache-2.0

// Examples of the documentation, which run as tests.

package flashcore_test

import (
	"errors"
	"fmt"

	"flashcore"
)

func Example() {
	context, err := flashcore.Open(flashcore.Options{Device: flashcore.CPU})
	if err != nil {
		panic(err)
	}
	defer context.Close()
	one := make([]flashcore.Float16, 3*8)
	for i := range one {
		one[i] = flashcore.ToFloat16(1)
	}
	output, lse := make([]flashcore.Float16, 3*8), make([]float32, 3)
	tensor := flashcore.Host(one, 1, 3, 1, 8)
	err = context.Forward(&flashcore.Attention{
		Query: tensor, Key: tensor, Value: tensor,
		Output:       flashcore.Host(output, 1, 3, 1, 8),
		LSE:          flashcore.Host(lse, 1, 1, 3, 1),
		LSEBase2:     true,
		SoftmaxScale: flashcore.Ptr(float32(0)),
		Causal:       flashcore.CausalTopLeft,
	}, nil)
	if err != nil {
		panic(err)
	}
	fmt.Println(output[0].Float32(), lse[0], lse[1]) // one key with score 0, then two
	// Output: 1 0 1
}

func ExampleError() {
	context, err := flashcore.Open(flashcore.Options{Device: flashcore.CPU})
	if err != nil {
		panic(err)
	}
	defer context.Close()
	tensor := flashcore.Host(make([]flashcore.Float16, 64), 1, 1, 1, 64)
	err = context.Forward(&flashcore.Attention{
		Query: tensor, Key: tensor, Value: tensor, Output: flashcore.Host(make([]flashcore.Float16, 64), 1, 1, 1, 64),
		Softcap: -30,
	}, nil)
	var failure *flashcore.Error
	if errors.Is(err, flashcore.ErrInvalidArgument) && errors.As(err, &failure) {
		fmt.Println(failure.Field)
	}
	// Output: softcap
}
