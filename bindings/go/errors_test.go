// SPDX-License-Identifier: Apache-2.0

// Bad input: every refusal is an *Error with the status, the argument's name and a sentence, and nothing was written.

package flashcore

import (
	"errors"
	"math"
	"strings"
	"testing"
)

const elements = 2 * 5 * 4 * 16

// refuse runs a changed attention over host memory that must be refused, and sees that the output stays as it was.
func refuse(t *testing.T, c *Context, change func(a *Attention)) error {
	t.Helper()
	data, output := random[Float16](elements, 1), filled(elements, ToFloat16(7))
	logs := filled(40, float32(7))
	tensor := Host(data, 2, 5, 4, 16)
	a := Attention{Query: tensor, Key: tensor, Value: tensor, Output: Host(output, 2, 5, 4, 16), LSE: Host(logs, 2, 4, 5, 1)}
	change(&a)
	err := c.Forward(&a, nil)
	if err == nil {
		t.Error("nothing was refused")
	}
	for _, value := range output {
		if value != ToFloat16(7) {
			t.Fatalf("a refused call wrote the output: %v", err)
		}
	}
	for _, value := range logs {
		if value != 7 {
			t.Fatalf("a refused call wrote the LSE: %v", err)
		}
	}
	return err
}

func TestBadInputIsRefusedWithItsField(t *testing.T) {
	c := open(t, Options{Device: CPU})
	other := must[*Buffer](t)(Upload(open(t, Options{Device: CPU}), random[Float16](elements, 1)))
	freed := must[*Buffer](t)(Upload(c, random[Float16](elements, 1)))
	if err := freed.Free(); err != nil {
		t.Fatal(err)
	}
	slopes, brain := make([]float32, 4), make([]BFloat16, elements)
	for _, one := range []struct {
		field  string
		status Status
		words  string
		change func(a *Attention)
	}{
		// Judged by the library.
		{"softmax_scale", ErrInvalidArgument, "nan", func(a *Attention) { a.SoftmaxScale = Ptr(float32(math.NaN())) }},
		{"causal", ErrInvalidArgument, "7", func(a *Attention) { a.Causal = 7 }},
		{"softcap", ErrInvalidArgument, "-30", func(a *Attention) { a.Softcap = -30 }},
		{"window_left", ErrInvalidArgument, "-1", func(a *Attention) { a.WindowLeft = Ptr(int64(-1)) }},
		{"attention_chunk", ErrInvalidArgument, "-1", func(a *Attention) { a.AttentionChunk = -1 }},
		{"split_count", ErrInvalidArgument, "-3", func(a *Attention) { a.SplitCount = -3 }},
		{"split_count", ErrInvalidArgument, "32 bits", func(a *Attention) { a.SplitCount = math.MaxInt32 + 1 }},
		{"split_tokens", ErrInvalidArgument, "-1", func(a *Attention) { a.SplitTokens = -1 }},
		{"multiprocessor_limit", ErrInvalidArgument, "-1", func(a *Attention) { a.MultiprocessorLimit = -1 }},
		{"key_position", ErrInvalidArgument, "-4", func(a *Attention) { a.Positions = &Positions{3, -4} }},
		{"kernel", ErrInvalidArgument, "no_such_kernel", func(a *Attention) { a.Kernel = "no_such_kernel" }},
		{"query.dtype", ErrUnsupported, "FLOAT16", func(a *Attention) {
			a.Query = Host(make([]float32, elements), 2, 5, 4, 16)
			a.Key, a.Value, a.Output = a.Query, a.Query, Host(make([]float32, elements), 2, 5, 4, 16)
		}},
		{"heads_kv", ErrInvalidArgument, "divisor", func(a *Attention) { a.Key.Shape[2], a.Value.Shape[2] = 3, 3 }},
		{"output.data", ErrInvalidArgument, "apart", func(a *Attention) { a.Output = a.Query }},
		// Sizes and types, before the call.
		{"query.data", ErrInvalidArgument, "absent", func(a *Attention) { a.Query = Tensor{} }},
		{"key.data", ErrInvalidArgument, "absent", func(a *Attention) { a.Key = Tensor{} }},
		{"output.data", ErrInvalidArgument, "absent", func(a *Attention) { a.Output = Tensor{} }},
		{"key.dtype", ErrInvalidArgument, "bfloat16; allowed: float16", func(a *Attention) { a.Key = Host(brain, 2, 5, 4, 16) }},
		{"output.dtype", ErrInvalidArgument, "bfloat16; allowed: float16", func(a *Attention) { a.Output = Host(brain, 2, 5, 4, 16) }},
		{"lse.dtype", ErrInvalidArgument, "bfloat16; allowed: float32", func(a *Attention) { a.LSE = Host(brain, 2, 4, 5, 1) }},
		{"key.shape[3]", ErrInvalidArgument, "15; allowed: 16", func(a *Attention) { a.Key.Shape[3] = 15 }},
		{"key.shape[0]", ErrInvalidArgument, "1; allowed: 2", func(a *Attention) { a.Key.Shape[0] = 1 }},
		{"value.shape[1]", ErrInvalidArgument, "4; allowed: 5", func(a *Attention) { a.Value.Shape[1] = 4 }},
		{"value.shape[2]", ErrInvalidArgument, "2; allowed: 4", func(a *Attention) { a.Value.Shape[2] = 2 }},
		{"output.shape[3]", ErrInvalidArgument, "8; allowed: 16", func(a *Attention) { a.Output.Shape[3] = 8 }},
		{"lse.shape[1]", ErrInvalidArgument, "5; allowed: 4", func(a *Attention) { a.LSE.Shape = [4]int{2, 5, 4, 1} }},
		{"heads_q", ErrInvalidArgument, "0", func(a *Attention) { a.Query.Shape[2], a.Output.Shape[2] = 0, 0 }},
		{"query.data", ErrInvalidArgument, "takes 641", func(a *Attention) { a.Query.Strides = [4]int{321, 64, 16, 1} }},
		{"key.data", ErrInvalidArgument, "takes 768", func(a *Attention) { a.Key.Shape[1], a.Value.Shape[1] = 6, 6 }},
		{"query.data", ErrInvalidArgument, "from 1 on", func(a *Attention) { a.Query.Offset = 1 }},
		{"query.data", ErrInvalidArgument, "from -1 on", func(a *Attention) { a.Query.Offset = -1 }},
		{"query.data", ErrInvalidArgument, "than can be counted", func(a *Attention) { a.Query.Strides = [4]int{math.MaxInt, 64, 16, 1} }},
		{"key.data", ErrInvalidArgument, "than can be counted", func(a *Attention) {
			a.Key.Shape[1], a.Value.Shape[1] = math.MaxInt/32, math.MaxInt/32
		}},
		{"key.shape[1]", ErrInvalidArgument, "-1", func(a *Attention) { a.Key.Shape[1], a.Value.Shape[1] = -1, -1 }},
		{"key.stride[1]", ErrInvalidArgument, "-64", func(a *Attention) { a.Key.Strides = [4]int{320, -64, 16, 1} }},
		{"value.stride[3]", ErrInvalidArgument, "2; allowed: 1", func(a *Attention) { a.Value.Strides = [4]int{320, 64, 16, 2} }},
		{"key.shape[1]", ErrInvalidArgument, "1 to 6", func(a *Attention) { a.Key = a.Key.Positions(1, 6) }},
		{"alibi_slopes.shape[2]", ErrInvalidArgument, "3", func(a *Attention) { a.AlibiSlopes = Host(slopes, 1, 1, 3, 1) }},
		{"bias.data", ErrInvalidArgument, "takes 200", func(a *Attention) { a.Bias = Host(slopes, 2, 5, 4, 5) }},
		{"bias.dtype", ErrInvalidArgument, "uint8; allowed: float16", func(a *Attention) { a.Bias = Host(make([]uint8, 200), 2, 5, 4, 5) }},
		{"bias.shape[3]", ErrInvalidArgument, "4; allowed: 5", func(a *Attention) { a.Bias = Host(slopes, 2, 5, 4, 4) }},
		{"mask.dtype", ErrInvalidArgument, "float32; allowed: uint8", func(a *Attention) { a.Mask = Host(slopes, 2, 5, 4, 5) }},
		{"mask.data", ErrInvalidArgument, "takes 360", func(a *Attention) {
			a.Mask = Host(make([]uint8, 359), 2, 5, 4, 5)
			a.Mask.Strides = [4]int{180, 1, 5, 40} // a last stride that is not 1
		}},
		{"sinks.data", ErrInvalidArgument, "takes 4", func(a *Attention) { a.Sinks = Host(slopes[:3], 1, 1, 4, 1) }},
		{"kernel", ErrInvalidArgument, "127 bytes", func(a *Attention) { a.Kernel = strings.Repeat("k", 128) }},
		{"kernel", ErrInvalidArgument, "127 bytes", func(a *Attention) { a.Kernel = "a\x00b" }},
		// The wrong place.
		{"value.data", ErrInvalidArgument, "a buffer of another context", func(a *Attention) { a.Value = other.Tensor(2, 5, 4, 16) }},
		{"value.data", ErrInvalidArgument, "is 0", func(a *Attention) {
			a.Value = DeviceMemory(0, DTypeFloat16, elements+2, 2, 5, 4, 16)
			a.Value.Offset = 2
		}},
		{"value.data", ErrInvalidArgument, "closed", func(a *Attention) { a.Value = freed.Tensor(2, 5, 4, 16) }},
	} {
		err := refuse(t, c, one.change)
		refused(t, err, one.status, one.field, one.words, "allowed")
	}
}

func TestWhatIsAllowed(t *testing.T) {
	c := open(t, Options{Device: CPU})
	data, output := random[Float16](elements, 1), make([]Float16, elements)
	plain := Host(data, 2, 5, 4, 16)
	repeated := plain
	repeated.Strides = [4]int{0, 0, 0, 1}
	none := plain.Positions(5, 5)
	for name, key := range map[string]Tensor{"plain": plain, "repeated": repeated, "a part": plain.Positions(1, 4), "no key": none} {
		err := c.Forward(&Attention{Query: plain, Key: key, Value: key, Output: Host(output, 2, 5, 4, 16)}, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	empty := Host([]Float16{}, 0, 5, 4, 16)
	if err := c.Forward(&Attention{Query: empty, Key: empty, Value: empty, Output: empty}, nil); err != nil {
		t.Error(err)
	}
}

func TestHostMemoryIsRefusedOnAGPU(t *testing.T) {
	needGPU(t)
	c := open(t, Options{Device: CUDA})
	refused(t, refuse(t, c, func(*Attention) {}), ErrInvalidArgument, "query.data", "host memory", "Upload")
}

func TestCheckedAddressesNameTheTensor(t *testing.T) {
	needGPU(t)
	c := open(t, Options{Device: CUDA, AddressChecks: AddressChecksAlways})
	// Short by less than what every allocation is rounded up by, so that the tensor reaches into no other.
	whole, short := must[*Buffer](t)(Zeros[Float16](c, elements)), must[*Buffer](t)(Zeros[Float16](c, elements-8))
	output := must[*Buffer](t)(Zeros[Float16](c, elements))
	long := DeviceMemory(must[uint64](t)(short.DeviceAddress()), DTypeFloat16, elements, 2, 5, 4, 16)
	tensor := whole.Tensor(2, 5, 4, 16)
	err := c.Forward(&Attention{Query: tensor, Key: long, Value: tensor, Output: output.Tensor(2, 5, 4, 16)}, nil)
	refused(t, err, ErrInvalidArgument, "key.data", "16 bytes too short")
}

func TestBuffersRefuseWhatLiesOutside(t *testing.T) {
	c, other := open(t, Options{Device: CPU}), open(t, Options{Device: CPU})
	b := must[*Buffer](t)(Upload(c, []float32{1, 2, 3}))
	refused(t, Write(b, 2, []float32{1, 2}), ErrInvalidArgument, "data", "2 elements from 2 on", "the 3 of the buffer")
	refused(t, Write(b, -1, []float32{1}), ErrInvalidArgument, "data", "from -1 on")
	refused(t, Write(b, math.MaxInt, []float32{1}), ErrInvalidArgument, "data")
	refused(t, Read(b, 0, make([]float32, 4)), ErrInvalidArgument, "data", "4 elements from 0 on")
	refused(t, Read(b, 0, make([]Float16, 1)), ErrInvalidArgument, "data", "float16; allowed: float32")
	if values := must[[]float32](t)(ReadAll[float32](b)); values[0] != 1 || values[1] != 2 || values[2] != 3 {
		t.Error(values)
	}
	_, err := Zeros[float32](c, -1)
	refused(t, err, ErrInvalidArgument, "bytes", "-1 elements")
	_, err = Zeros[float32](c, math.MaxInt)
	refused(t, err, ErrInvalidArgument, "bytes", "elements of 4 bytes")
	_, err = Zeros[float32](c, 1<<58)
	refused(t, err, ErrOutOfDeviceMemory, "bytes")
	foreign, half := must[*Buffer](t)(Zeros[float32](other, 3)), must[*Buffer](t)(Zeros[Float16](c, 3))
	refused(t, b.CopyFrom(nil, 0, foreign, 0, 1), ErrInvalidArgument, "source", "another context")
	refused(t, b.CopyFrom(nil, 0, half, 0, 1), ErrInvalidArgument, "source", "float16")
	refused(t, b.CopyFrom(nil, 0, b, 3, 1), ErrInvalidArgument, "source", "from 3 on")
	refused(t, b.CopyFrom(must[*Stream](t)(other.NewStream()), 0, b, 0, 1), ErrInvalidArgument, "stream", "another context")
	_, err = must[*Event](t)(c.NewEvent()).Since(must[*Event](t)(other.NewEvent()))
	refused(t, err, ErrInvalidArgument, "start", "another context")
}

func TestOptionsAreChecked(t *testing.T) {
	for field, options := range map[string]Options{
		"cache_directory": {Device: CPU, CacheDirectory: strings.Repeat("x", 1024)},
		"module_path":     {Device: CPU, ModulePath: "a\x00b"},
		"cpu_threads":     {Device: CPU, CPUThreads: -1},
		"device_kind":     {Device: 9},
		"address_checks":  {Device: CPU, AddressChecks: 9},
	} {
		_, err := Open(options)
		refused(t, err, ErrInvalidArgument, field)
	}
	_, err := Open(Options{Device: CUDA, Ordinal: 1000})
	known := false
	for _, status := range []Status{ErrNoDriver, ErrNoDevice, ErrInvalidArgument, ErrDeviceNotReady, ErrDriverTooOld} {
		known = known || errors.Is(err, status)
	}
	if !known {
		t.Error(err)
	}
	info := must[ContextInfo](t)(open(t, Options{Device: CPU, CPUThreads: 1}).Describe())
	if info.Device.Kind != CPU || info.Device.Multiprocessors != 1 || info.Device.Name == "" || info.DeviceReason == "" {
		t.Errorf("%+v", info)
	}
}

func TestExplainSaysWhyNot(t *testing.T) {
	c, tensor := open(t, Options{Device: CPU}), Host(random[Float16](elements, 1), 2, 5, 4, 16)
	a := Attention{Query: tensor, Key: tensor, Value: tensor, Causal: CausalBottomRight}
	explanation := must[Explanation](t)(c.Explain(&a))
	if !explanation.Supported || explanation.Kernel != "cpu" {
		t.Errorf("%+v", explanation)
	}
	if bytes, err := c.WorkspaceBytes(&a); err != nil || bytes != 0 {
		t.Error(bytes, err)
	}
	if err := c.Prepare(&a); err != nil {
		t.Error(err)
	}
	floats := Host(make([]float32, 2*5*4*16), 2, 5, 4, 16)
	a = Attention{Query: floats, Key: floats, Value: floats}
	explanation = must[Explanation](t)(c.Explain(&a))
	if explanation.Supported || !strings.Contains(explanation.Reasons, "query.dtype") {
		t.Errorf("%+v", explanation)
	}
}

func TestEveryStatusOfTheLibraryIsASentinel(t *testing.T) {
	sentinels := []Status{ErrInvalidArgument, ErrUnsupported, ErrNotPrepared, ErrWorkspaceTooSmall, ErrOutOfHostMemory,
		ErrOutOfDeviceMemory, ErrNoDriver, ErrDriverTooOld, ErrNoDevice, ErrDeviceNotReady, ErrCompilerUnavailable, ErrCompileFailed,
		ErrModuleCorrupt, ErrCudaError, ErrContextLost, ErrForked, ErrIoError, ErrInternal}
	here := map[Status]bool{}
	for _, status := range sentinels {
		here[status] = true
		var err error = &Error{Status: status, Message: "m"}
		if !errors.Is(err, status) || errors.Is(err, Status(5)) || errors.Is(err, ErrClosed) {
			t.Errorf("errors.Is is wrong about %v", err)
		}
	}
	for number := Status(1); number < 1000; number++ {
		if known := number.Name() != "UNKNOWN"; known != here[number] {
			t.Errorf("status %d is %s to the library, and a sentinel: %v", number, number.Name(), here[number])
		}
	}
	if !strings.Contains(ErrInternal.Error(), "INTERNAL: ") || Version() < 10000 {
		t.Error(ErrInternal.Error(), Version())
	}
}
