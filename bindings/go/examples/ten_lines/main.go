// SPDX-License-Identifier: Apache-2.0

// The same ten lines as in the other languages: attention over equal keys is the mean of the values 0, 1, 2, 3, ..., 1.5.
// "ten_lines cpu" computes on the CPU device, "ten_lines cuda" on the first GPU or not at all, "ten_lines auto" or no word on the first
// usable GPU, else on the CPU.
package main

import (
	"fmt"
	"os"
	"strings"

	fc "flashcore"
)

func check[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func main() {
	words := strings.Join(os.Args[1:], " ")
	device, known := map[string]fc.DeviceKind{"": fc.Auto, "auto": fc.Auto, "cpu": fc.CPU, "cuda": fc.CUDA}[words]
	if !known {
		fmt.Fprintf(os.Stderr, "the device is %q; usage: ten_lines [auto|cpu|cuda]\n", words)
		os.Exit(2)
	}
	const seqlen, heads, headDim = 512, 8, 64
	const elements = seqlen * heads * headDim
	ones, values := make([]fc.Float16, elements), make([]fc.Float16, elements)
	for i := range values {
		ones[i], values[i] = fc.ToFloat16(1), fc.ToFloat16(float32(i/(heads*headDim)%4)) // by sequence position
	}

	// [ten lines]
	context := check(fc.Open(fc.Options{Device: device}))
	defer context.Close()
	query, value := check(fc.Upload(context, ones)), check(fc.Upload(context, values))
	key, output := check(fc.Zeros[fc.Float16](context, elements)), check(fc.Zeros[fc.Float16](context, elements))
	err := context.Forward(&fc.Attention{
		Query: query.Tensor(1, seqlen, heads, headDim), Key: key.Tensor(1, seqlen, heads, headDim),
		Value: value.Tensor(1, seqlen, heads, headDim), Output: output.Tensor(1, seqlen, heads, headDim),
	}, nil) // on the default stream
	result := check(fc.ReadAll[fc.Float16](check(output, err)))
	fmt.Printf("output[0] is %g on %s\n", result[0].Float32(), check(context.Describe()).Device.Name)
	// [end]

	for i := range result {
		if result[i].Float32() != 1.5 {
			fmt.Fprintf(os.Stderr, "output[%d] is %g, not 1.5\n", i, result[i].Float32())
			os.Exit(1)
		}
	}
}
