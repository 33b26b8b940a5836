// SPDX-License-Identifier: Apache-2.0

// Variants: a text is held to what it says, and what cannot be is refused by name.

package flashcore

import (
	"errors"
	"math"
	"testing"
)

const lastKeys = `bool visible(int32_t batch, int32_t head, int32_t query, int32_t key, const float *params) {
  return key >= params[0];
}`

func TestVariant(t *testing.T) {
	onEachDevice(t, func(t *testing.T, c *Context) {
		variant, err := c.NewVariant(lastKeys, 8)
		if err != nil {
			t.Fatal(err)
		}
		const keys, dim = 5, 8
		values := make([]Float16, keys*dim)
		for i := range values {
			values[i] = ToFloat16(float32(i / dim))
		}
		query, _ := Upload(c, make([]Float16, dim))
		key, _ := Upload(c, make([]Float16, keys*dim))
		value, _ := Upload(c, values)
		output, _ := Zeros[Float16](c, dim)
		params, err := Upload(c, []float32{3, 0})
		if err != nil {
			t.Fatal(err)
		}
		a := Attention{Query: query.Tensor(1, 1, 1, dim), Key: key.Tensor(1, keys, 1, dim), Value: value.Tensor(1, keys, 1, dim),
			Output: output.Tensor(1, 1, 1, dim), Variant: variant, VariantParams: params.Tensor(1, 1, 1, 2)}
		err = c.Forward(&a, nil)
		if errors.Is(err, ErrUnsupported) || errors.Is(err, ErrCompilerUnavailable) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		result := make([]Float16, dim)
		if err := Read(output, 0, result); err != nil {
			t.Fatal(err)
		}
		if mean := float64(result[0].Float32()); math.Abs(mean-3.5) > 1e-3 { // keys 3 and 4
			t.Errorf("the mean of the last keys is %v", mean)
		}
		a.VariantParams.Shape[3] = 1
		if err := c.Forward(&a, nil); !errors.Is(err, ErrInvalidArgument) {
			t.Errorf("a block of 4 bytes: %v", err)
		}
		if err := variant.Free(); err != nil {
			t.Fatal(err)
		}
		if err := c.Forward(&a, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("a variant that was freed: %v", err)
		}
	})
}

func TestVariantText(t *testing.T) {
	c := open(t, Options{Device: CPU})
	for _, text := range []string{"", "int x;", lastKeys + "}"} {
		var failure *Error
		if _, err := c.NewVariant(text, 8); !errors.As(err, &failure) || failure.Field != "text" {
			t.Errorf("%q: %v", text, err)
		}
	}
}
