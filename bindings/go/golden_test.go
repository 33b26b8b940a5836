// SPDX-License-Identifier: Apache-2.0

// The golden vectors. A case whose feature the build does not have must be refused with the feature's own field: a window
// that is silently ignored would give plausible numbers.

package flashcore

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goldenFolder = "../../tests/golden/vectors"

type goldenCase struct {
	Name                   string
	B, Hq, Hk, Sq, Sk      int
	D, Dv                  int
	Dtype, Causal          string
	Window                 [2]int64
	Chunk                  int64
	Softcap, Scale         float32
	Alibi, Sink, Bias      bool
	Mask                   bool
	Std                    float64
	query, key, value      []uint16
	alibi, bias, sinks     []float32
	mask                   []uint8
	expected, expectedLogs []float32
}

// readNpy gives the bytes of a little-endian array in C order, after a check of its type and shape.
func readNpy(t *testing.T, path, descr string, shape ...int) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) < 10 || string(data[:8]) != "\x93NUMPY\x01\x00" {
		t.Fatalf("%s: not a .npy file of version 1", path)
	}
	end := 10 + int(binary.LittleEndian.Uint16(data[8:]))
	sizes := strings.Trim(strings.ReplaceAll(fmt.Sprint(shape), " ", ", "), "[]")
	if len(shape) == 1 {
		sizes += ","
	}
	expected := fmt.Sprintf("'descr': '%s', 'fortran_order': False, 'shape': (%s)", descr, sizes)
	if !strings.Contains(string(data[10:end]), expected) {
		t.Fatalf("%s: %q lacks %q", path, data[10:end], expected)
	}
	return data[end:]
}

func readHalfs(t *testing.T, path, descr string, shape ...int) []uint16 {
	t.Helper()
	data := readNpy(t, path, descr, shape...)
	values := make([]uint16, len(data)/2)
	for i := range values {
		values[i] = binary.LittleEndian.Uint16(data[2*i:])
	}
	return values
}

func readFloats(t *testing.T, path string, shape ...int) []float32 {
	t.Helper()
	data := readNpy(t, path, "<f4", shape...)
	values := make([]float32, len(data)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return values
}

func goldenCases(t *testing.T) []goldenCase {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(goldenFolder, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []goldenCase
	if err := json.Unmarshal(text, &cases); err != nil || len(cases) < 32 {
		t.Fatalf("cases.json: %d cases, %v", len(cases), err)
	}
	for i := range cases {
		g := &cases[i]
		path := func(name string) string { return filepath.Join(goldenFolder, g.Name, name+".npy") }
		suffix, descr := "", "<f2"
		if g.Dtype == "bfloat16" {
			suffix, descr = "_bf16bits", "<u2"
		}
		g.query = readHalfs(t, path("q"+suffix), descr, g.B, g.Sq, g.Hq, g.D)
		g.key = readHalfs(t, path("k"+suffix), descr, g.B, g.Sk, g.Hk, g.D)
		g.value = readHalfs(t, path("v"+suffix), descr, g.B, g.Sk, g.Hk, g.Dv)
		if g.Alibi {
			g.alibi = readFloats(t, path("alibi"), g.Hq)
		}
		if g.Bias {
			g.bias = readFloats(t, path("bias"), g.Hq, g.Sq, g.Sk)
		}
		if g.Mask {
			g.mask = readNpy(t, path("mask"), "|b1", g.B, g.Hq, g.Sq, g.Sk)
		}
		if g.Sink {
			g.sinks = readFloats(t, path("sink"), g.Hq)
		}
		g.expected = readFloats(t, path("o"), g.B, g.Sq, g.Hq, g.Dv)
		g.expectedLogs = readFloats(t, path("lse"), g.B, g.Hq, g.Sq)
	}
	return cases
}

// featureFields are the fields that a case is about, beyond what every build and device has.
func (g *goldenCase) featureFields() []string {
	var fields []string
	if g.Window != [2]int64{-1, -1} {
		fields = append(fields, "flags", "window_left", "window_right")
	}
	if g.Chunk != 0 {
		fields = append(fields, "attention_chunk")
	}
	if g.Softcap != 0 {
		fields = append(fields, "softcap")
	}
	for field, there := range map[string]bool{"alibi_slopes": g.Alibi, "bias": g.Bias, "mask": g.Mask, "sinks": g.Sink} {
		if there {
			fields = append(fields, field)
		}
	}
	return fields
}

func cast[T half](bits []uint16) []T {
	values := make([]T, len(bits))
	for i := range bits {
		values[i] = T(bits[i])
	}
	return values
}

func filled[T any](count int, value T) []T {
	values := make([]T, count)
	for i := range values {
		values[i] = value
	}
	return values
}

func computeGolden[T half](t *testing.T, c *Context, g *goldenCase) ([]float64, []float32, error) {
	t.Helper()
	buffer, floats := must[*Buffer](t), must[*Buffer](t)
	query, key, value := buffer(Upload(c, cast[T](g.query))), buffer(Upload(c, cast[T](g.key))), buffer(Upload(c, cast[T](g.value)))
	output := buffer(Upload(c, filled(len(g.expected), T(0xffff)))) // what is not written is a NaN and fails
	logs := floats(Upload(c, filled(len(g.expectedLogs), float32(math.NaN()))))
	attention := Attention{
		Query: query.Tensor(g.B, g.Sq, g.Hq, g.D), Key: key.Tensor(g.B, g.Sk, g.Hk, g.D), Value: value.Tensor(g.B, g.Sk, g.Hk, g.Dv),
		Output: output.Tensor(g.B, g.Sq, g.Hq, g.Dv), LSE: logs.Tensor(g.B, g.Hq, g.Sq, 1),
		SoftmaxScale: &g.Scale, Softcap: g.Softcap, AttentionChunk: int(g.Chunk),
		Causal: map[string]Causal{"none": CausalNone, "top_left": CausalTopLeft, "bottom_right": CausalBottomRight}[g.Causal],
	}
	if g.Window[0] >= 0 {
		attention.WindowLeft = &g.Window[0]
	}
	if g.Window[1] >= 0 {
		attention.WindowRight = &g.Window[1]
	}
	if g.Alibi {
		attention.AlibiSlopes = floats(Upload(c, g.alibi)).Tensor(1, 1, g.Hq, 1)
	}
	if g.Bias {
		attention.Bias = floats(Upload(c, g.bias)).Tensor(g.B, g.Sq, g.Hq, g.Sk)
		attention.Bias.Strides = [4]int{0, g.Sk, g.Sq * g.Sk, 1}
	}
	if g.Mask {
		attention.Mask = must[*Buffer](t)(Upload(c, g.mask)).Tensor(g.B, g.Sq, g.Hq, g.Sk)
		attention.Mask.Strides = [4]int{g.Hq * g.Sq * g.Sk, g.Sk, g.Sq * g.Sk, 1}
	}
	if g.Sink {
		attention.Sinks = floats(Upload(c, g.sinks)).Tensor(1, 1, g.Hq, 1)
	}
	if err := c.Forward(&attention, nil); err != nil {
		return nil, nil, err
	}
	raw := must[[]T](t)(ReadAll[T](output))
	values := make([]float64, len(raw))
	for i := range raw {
		values[i] = toFloat(raw[i])
	}
	return values, must[[]float32](t)(ReadAll[float32](logs)), nil
}

// checkValues compares with the float64 results: the contract's bounds for inputs of standard deviation 1, grown with larger
// inputs and with the rounding of larger results.
func checkValues(t *testing.T, g *goldenCase, output []float64, logs []float32) {
	t.Helper()
	most, mean, unit := 1e-3, 5e-5, 0x1p-11
	if g.Dtype == "bfloat16" {
		most, mean, unit = 5e-3, 3e-4, 0x1p-8
	}
	most, mean = most*math.Max(g.Std, 1), mean*math.Max(g.Std, 1)
	sum, expectedSum := 0.0, 0.0
	for i, actual := range output {
		expected := float64(g.expected[i])
		distance := math.Abs(actual - expected)
		if !(distance <= most+unit*math.Abs(expected)) {
			t.Fatalf("%s: output[%d] is %g, not %g", g.Name, i, actual, expected)
		}
		sum, expectedSum = sum+distance, expectedSum+math.Abs(expected)
	}
	if count := float64(len(output)); !(sum/count <= mean+unit*expectedSum/count/2) {
		t.Errorf("%s: mean error %g", g.Name, sum/count)
	}
	for i, actual := range logs {
		expected := g.expectedLogs[i]
		if actual != expected && !(math.Abs(float64(actual-expected)) <= 1e-4+2e-6*math.Abs(float64(expected))) {
			t.Fatalf("%s: lse[%d] is %g, not %g", g.Name, i, actual, expected)
		}
	}
}

func TestGoldenVectors(t *testing.T) {
	cases := goldenCases(t)
	onEachDevice(t, func(t *testing.T, c *Context) {
		computed := 0
		for i := range cases {
			g := &cases[i]
			compute := computeGolden[Float16]
			if g.Dtype == "bfloat16" {
				compute = computeGolden[BFloat16]
			}
			output, logs, err := compute(t, c, g)
			if err == nil {
				checkValues(t, g, output, logs)
				computed++
				continue
			}
			var e *Error
			fields := g.featureFields()
			if len(fields) == 0 && !c.isCPU { // a GPU has kernels for some head dimensions only; the CPU device takes any
				fields = []string{"head_dim"}
			}
			named := false
			for _, field := range fields {
				named = named || errors.As(err, &e) && strings.HasPrefix(e.Field, field)
			}
			if !named || !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s: %v", g.Name, err)
			}
		}
		t.Logf("%d golden cases computed, %d refused", computed, len(cases)-computed)
		if computed < 8 {
			t.Error("refused nearly everything")
		}
	})
}
