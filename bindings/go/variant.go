// SPDX-License-Identifier: Apache-2.0

// Variants: attention with a few lines of C++ of the caller's own, compiled into the library's kernels.

package flashcore

// #include <stdlib.h>
// #include "shim.h"
import "C"

import "unsafe"

// Variant is a text that changes scores and hides keys; flashcore.h says what stands in it. Free it or close its context.
type Variant struct {
	*owned
	paramsBytes int64
}

// NewVariant makes a variant. paramsBytes is the size of the block that each call gives in VariantParams, a multiple of 8; 0: calls give
// none. Nothing is compiled here: the first call of a shape does that, and Prepare. ErrInvalidArgument names the line of the text.
func (c *Context) NewVariant(text string, paramsBytes int) (*Variant, error) {
	if text == "" { // a size of 0 would ask the library for the end of the text
		return nil, invalid("text", "a text of 0 bytes", "1 to 65536 bytes")
	}
	raw := C.CString(text)
	defer C.free(unsafe.Pointer(raw))
	options := C.flashcore_variant_options{struct_size: C.sizeof_flashcore_variant_options, params_bytes: C.int64_t(paramsBytes)}
	o, err := c.create(variantResource, func(r *resource, failure *cError) cStatus {
		return C.flashcore_variant_create(c.raw, raw, C.int64_t(len(text)), &options, &r.address, failure)
	})
	if err != nil {
		return nil, err
	}
	return &Variant{o, int64(paramsBytes)}, nil
}

// Free forgets the variant; calls that run with it finish. Freeing again is allowed.
func (v *Variant) Free() error {
	return v.release()
}

func (a *Attention) fillVariant(f *frame, c *Context) error {
	args := &f.call.args
	if a.Variant != nil {
		if a.Variant.context != c {
			return invalid("variant", "a variant of another context", "a variant of this context")
		}
		if a.Variant.res.freed {
			return closedError("variant")
		}
		args.variant = a.Variant.res.address
	}
	if a.VariantParams.absent() {
		return nil
	}
	var raw C.flashcore_tensor
	var err error
	if f.params, err = a.VariantParams.fill(&raw, "variant_params", c); err != nil {
		return err
	}
	args.variant_params = raw.data
	bytes := int64(a.VariantParams.extent()) * a.VariantParams.dtype.bytes()
	if a.Variant != nil && bytes < a.Variant.paramsBytes {
		return invalidf("variant_params", "as many as the variant was made with, or more", "%d bytes", bytes)
	}
	return nil
}
