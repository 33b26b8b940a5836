/* SPDX-License-Identifier: Apache-2.0
 *
 * _flashcore_torch: what flashcore.torch does between PyTorch tensors and flashcore_attention_fwd in a call whose like was seen before.
 * In Python that takes longer than the launch. Everything that happens once per shape stays in Python (flashcore/torch.py), as do all
 * refusals.
 *
 * Linked neither with PyTorch nor with libflashcore: tensors are looked into through the functions that PyTorch 2.10 and newer give
 * out (dlpack_exchange.h), and the address of flashcore_attention_fwd comes from ctypes. Only Python's stable ABI is used, so that one
 * binary serves every Python from 3.9 on and every PyTorch.
 *
 * Threads: the interpreter's lock guards the tables. It is released during flashcore_attention_fwd, which may compile, and while
 * PyTorch allocates; nothing that may change meanwhile is held over either but by a reference of its own.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <array>
#include <cstring>
#include <memory>
#include <new>
#include <unordered_map>
#include <utility>
#include <vector>

#include <flashcore/flashcore.h>

#include "dlpack_exchange.h"

namespace {

constexpr std::size_t most_calls = 1024;  // of a context; a growing key-value cache makes a new shape in every step
constexpr int tensor_count = 3;           // query, key, value
constexpr int option_count = 8;           // causal, scale, softcap, window, layout, output_layout, kernel, grouped

// An owned reference.
class Object {
 public:
  Object() = default;
  explicit Object(PyObject *owned) : object_(owned) {}
  static Object share(PyObject *borrowed) {
    Py_INCREF(borrowed);
    return Object(borrowed);
  }
  Object(Object &&other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Object &operator=(Object &&other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Object() { Py_XDECREF(object_); }
  PyObject *get() const { return object_; }
  PyObject *release() { return std::exchange(object_, nullptr); }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  PyObject *object_ = nullptr;
};

// ---- What is known of PyTorch ---------------------------------------------------------------------------------------

// Set once by configure(), before anything else runs.
struct {
  const dlpack::ExchangeApi *exchange = nullptr;
  PyObject *plain_types[2] = {};               // of tensors that are memory and nothing else: Tensor and Parameter
  PyObject *are_gradients_recorded = nullptr;  // () -> bool
  PyObject *dispatch_depth =
      nullptr;                 // () -> how many modes are active that PyTorch's dispatcher would have to show the call
  PyObject *refuse = nullptr;  // (status, flashcore_error as bytes): raises
  PyObject *other_modes =
      nullptr;  // a tuple of () -> bool: something else watches calls (a tracer, a mode over functions)
  PyObject *forward_ad =
      nullptr;  // the module whose _current_level is below 0 while no tensor can carry a tangent; or None
  PyObject *odd_memory = nullptr;     // a tuple of names of methods: true where a tensor's memory is not what it holds
  PyObject *requires_grad = nullptr;  // the attributes' names
  PyObject *current_level = nullptr;
} pytorch;

// Everything about the tensors of a call but their addresses. Compared as bytes, so without gaps.
struct Signature {
  struct {
    std::int64_t shape[4];
    std::int64_t strides[4];
    dlpack::Device device;
    dlpack::DataType dtype;
    std::int32_t reserved;
  } tensors[tensor_count];

  bool operator==(const Signature &other) const { return std::memcmp(this, &other, sizeof(*this)) == 0; }
};
static_assert(std::has_unique_object_representations_v<Signature>);

struct SignatureHash {
  std::size_t operator()(const Signature &signature) const {
    std::uint64_t words[sizeof(Signature) / 8], hash = 0, factor = 0x9e3779b97f4a7c15u;
    static_assert(sizeof(words) == sizeof(Signature));
    std::memcpy(words, &signature, sizeof(words));
    for (const std::uint64_t word : words)  // the factors are constants, so that the products overlap
      hash += (word + 1) * factor, factor *= 0xd1342543de82ef95u;
    return hash ^ hash >> 32;
  }
};

using Addresses = std::array<std::uint64_t, tensor_count>;

enum class Seen { yes, no, failed };  // failed: a Python exception is set

// Is what function() returns true?
Seen ask(PyObject *function) {
  Object answer(PyObject_CallObject(function, nullptr));
  const int truth = answer ? PyObject_IsTrue(answer.get()) : -1;
  return truth < 0 ? Seen::failed : truth ? Seen::yes : Seen::no;
}

// Does a mode of PyTorch want to see the call, or may a tensor carry a tangent?
Seen is_watched() {
  Seen watched = ask(pytorch.dispatch_depth);
  for (Py_ssize_t i = 0; watched == Seen::no && i < PyTuple_Size(pytorch.other_modes); ++i)
    watched = ask(PyTuple_GetItem(pytorch.other_modes, i));
  if (watched != Seen::no || pytorch.forward_ad == Py_None) return watched;
  Object level(PyObject_GetAttr(pytorch.forward_ad, pytorch.current_level));
  const long number = level ? PyLong_AsLong(level.get()) : -1;
  return PyErr_Occurred() ? Seen::failed : number >= 0 ? Seen::yes : Seen::no;
}

// A view whose negation is still to come has the memory of what is not negated.
Seen has_odd_memory(PyObject *tensor) {
  for (Py_ssize_t i = 0; i < PyTuple_Size(pytorch.odd_memory); ++i) {
    Object answer(PyObject_CallMethodObjArgs(tensor, PyTuple_GetItem(pytorch.odd_memory, i), nullptr));
    if (!answer) return Seen::failed;
    if (answer.get() != Py_False) return Seen::yes;
  }
  return Seen::no;
}

bool is_plain(PyObject *tensor) {
  PyObject *type = reinterpret_cast<PyObject *>(Py_TYPE(tensor));
  return type == pytorch.plain_types[0] || type == pytorch.plain_types[1];
}

Seen records_gradients(PyObject *tensor) {
  Object answer(PyObject_GetAttr(tensor, pytorch.requires_grad));
  return !answer ? Seen::failed : answer.get() == Py_False ? Seen::no : Seen::yes;
}

// The signature of tensors that are plain memory, of which no gradients or tangents are recorded, while nothing in PyTorch wants to
// see the call. No: they are not, or are no tensors at all; whoever then takes the long way is told why.
Seen sign(PyObject *const *tensors, Signature &signature, Addresses &addresses) {
  const Seen gradients = ask(pytorch.are_gradients_recorded);
  const Seen watched = gradients == Seen::failed ? Seen::failed : is_watched();
  if (watched != Seen::no) return watched == Seen::yes ? Seen::no : Seen::failed;
  for (int i = 0; i < tensor_count; ++i) {
    if (!is_plain(tensors[i])) return Seen::no;
    dlpack::Tensor seen;
    if (pytorch.exchange->look(tensors[i], &seen) != 0) {
      PyErr_Clear();  // sparse, on the meta device, a wrapper of vmap
      return Seen::no;
    }
    if (seen.dimensions != 4) return Seen::no;
    if (const Seen odd = has_odd_memory(tensors[i]); odd != Seen::no) return odd == Seen::yes ? Seen::no : Seen::failed;
    if (gradients == Seen::yes) {
      if (const Seen recorded = records_gradients(tensors[i]); recorded != Seen::no)
        return recorded == Seen::yes ? Seen::no : Seen::failed;
    }
    auto &one = signature.tensors[i];
    bool empty = false;
    for (int d = 0; d < 4; ++d) {
      one.shape[d] = seen.shape[d];
      one.strides[d] = seen.strides[d];
      empty |= seen.shape[d] == 0;
    }
    if (!empty && seen.data == nullptr) return Seen::no;  // a wrapper without memory
    one.device = seen.device;
    one.dtype = seen.dtype;
    one.reserved = 0;
    addresses[i] = reinterpret_cast<std::uint64_t>(seen.data) + seen.byte_offset;
  }
  return Seen::yes;
}

PyObject *configure(PyObject *, PyObject *given) {
  Object nothing(PyTuple_New(0));
  if (!nothing) return nullptr;
  PyObject *capsule, *tensor, *parameter, *are_gradients_recorded, *dispatch_depth, *refuse;
  PyObject *other_modes = nothing.get(), *forward_ad = Py_None, *odd_memory = nothing.get();
  if (!PyArg_ParseTuple(given, "OOOOOO|O!OO!:configure", &capsule, &tensor, &parameter, &are_gradients_recorded,
                        &dispatch_depth, &refuse, &PyTuple_Type, &other_modes, &forward_ad, &PyTuple_Type, &odd_memory))
    return nullptr;
  if (!PyCapsule_IsValid(capsule, dlpack::capsule_name))
    return PyErr_Format(PyExc_ImportError,
                        "this PyTorch has no torch.Tensor.__dlpack_c_exchange_api__; 2.10 and newer have");
  auto *exchange = static_cast<const dlpack::ExchangeApi *>(PyCapsule_GetPointer(capsule, dlpack::capsule_name));
  const std::uint32_t newest = exchange->major;
  while (exchange && exchange->major > dlpack::major_version) exchange = exchange->older;
  if (!exchange || exchange->major != dlpack::major_version || !exchange->look || !exchange->current_stream)
    return PyErr_Format(PyExc_ImportError,
                        "PyTorch's DLPack exchange interface has major version %u; this build of flashcore knows %u",
                        newest, dlpack::major_version);
  Object requires_grad(PyUnicode_InternFromString("requires_grad")),
      current_level(PyUnicode_InternFromString("_current_level"));
  if (!requires_grad || !current_level) return nullptr;
  for (PyObject *kept :
       {tensor, parameter, are_gradients_recorded, dispatch_depth, refuse, other_modes, forward_ad, odd_memory})
    Py_INCREF(kept);
  pytorch = {exchange,   {tensor, parameter}, are_gradients_recorded,  dispatch_depth,         refuse, other_modes,
             forward_ad, odd_memory,          requires_grad.release(), current_level.release()};
  Py_RETURN_NONE;
}

// ---- Prepared calls of one context ----------------------------------------------------------------------------------

// Calls of one signature that differ in their options form a list, newest first. A node never changes, so whoever holds one may run
// Python code while others add or drop calls.
struct Prepared {
  std::array<Object, option_count> options;  // compared by ==
  Object new_output;                         // new_output(*new_arguments): the output tensor
  Object new_arguments;                      // a tuple
  flashcore_attention_args args;
  std::shared_ptr<const Prepared> next;
};

using AttentionFwd = flashcore_status (*)(flashcore_context, const flashcore_attention_args *, void *,
                                          flashcore_error *);

struct Calls {
  AttentionFwd attention_fwd;
  flashcore_context context;
  dlpack::Device device;
  Object native;  // the owner of `context`
  std::unordered_map<Signature, std::shared_ptr<const Prepared>, SignatureHash> prepared;
  std::size_t count = 0;
  bool closed = false;
};

struct CallsObject {
  PyObject_HEAD Calls *calls;
};

Calls &calls_of(PyObject *self) { return *reinterpret_cast<CallsObject *>(self)->calls; }

void drop_all(Calls &calls) {
  calls.count = 0;
  auto dropped = std::exchange(calls.prepared, {});  // its end may run Python code: the table is in order by then
}

// Null without an exception: there is none. Options of a caller's own type may run Python code.
std::shared_ptr<const Prepared> find(const Calls &calls, const Signature &signature, PyObject *const *options) {
  const auto at = calls.prepared.find(signature);
  std::shared_ptr<const Prepared> call = at == calls.prepared.end() ? nullptr : at->second;
  for (; call; call = call->next) {
    int same = 1;
    for (int i = option_count; i-- > 0 && same > 0;) {  // backwards: those that differ by the function called come last
      PyObject *kept = call->options[i].get();
      same = options[i] == kept ? 1 : PyObject_RichCompareBool(options[i], kept, Py_EQ);
    }
    if (same != 0) return same > 0 ? call : nullptr;
  }
  return nullptr;
}

PyObject *refuse(flashcore_status status, const flashcore_error &error) {
  Object number(PyLong_FromLong(status)),
      bytes(PyBytes_FromStringAndSize(reinterpret_cast<const char *>(&error), sizeof(error)));
  if (!number || !bytes) return nullptr;
  Object answer(PyObject_CallFunctionObjArgs(pytorch.refuse, number.get(), bytes.get(), nullptr));
  if (answer)
    PyErr_Format(PyExc_SystemError, "flashcore_attention_fwd failed with status %d, and nothing was raised",
                 int{status});
  return nullptr;
}

PyObject *run_prepared(const Calls &calls, const Prepared &call, const Addresses &addresses) {
  Object output(PyObject_CallObject(call.new_output.get(), call.new_arguments.get()));
  dlpack::Tensor made;
  if (!output || pytorch.exchange->look(output.get(), &made) != 0) return nullptr;
  void *stream = nullptr;
  if (pytorch.exchange->current_stream(calls.device.type, calls.device.ordinal, &stream) != 0) return nullptr;
  flashcore_attention_args args = call.args;
  args.query.data = addresses[0];
  args.key.data = addresses[1];
  args.value.data = addresses[2];
  args.output.data = reinterpret_cast<std::uint64_t>(made.data) + made.byte_offset;
  flashcore_error error;  // only its size is read
  error.struct_size = sizeof(error);
  flashcore_status status;
  Py_BEGIN_ALLOW_THREADS status = calls.attention_fwd(calls.context, &args, stream, &error);
  Py_END_ALLOW_THREADS return status == FLASHCORE_OK ? output.release() : refuse(status, error);
}

// The sets of prepared calls that run() uses, one per device.
std::vector<std::pair<dlpack::Device, PyObject *>> defaults;

Object default_for(const dlpack::Device &device) {
  for (const auto &[its_device, calls] : defaults)
    if (its_device == device) return Object::share(calls);
  return {};
}

// given: the tensors, then the options. self: null for the device's default.
PyObject *run(PyObject *self, PyObject *const *given, Py_ssize_t count) {
  if (count != tensor_count + option_count)
    return PyErr_Format(PyExc_TypeError, "run() takes %d tensors and %d options; it got %zd arguments", tensor_count,
                        option_count, count);
  Signature signature;
  Addresses addresses;
  const Seen seen = sign(given, signature, addresses);
  if (seen == Seen::failed) return nullptr;
  const Object owner = seen == Seen::no ? Object()
                       : self           ? Object::share(self)
                                        : default_for(signature.tensors[0].device);
  if (owner && !calls_of(owner.get()).closed) {
    const std::shared_ptr<const Prepared> call = find(calls_of(owner.get()), signature, given + tensor_count);
    if (call) return run_prepared(calls_of(owner.get()), *call, addresses);
    if (PyErr_Occurred()) return nullptr;
  }
  Py_RETURN_NONE;
}

PyObject *run_default(PyObject *, PyObject *const *given, Py_ssize_t count) { return run(nullptr, given, count); }

// Py_False: these are no tensors that run() would take.
PyObject *remember(PyObject *self, PyObject *given) {
  PyObject *tensors[tensor_count], *options[option_count], *new_output, *new_arguments;
  const char *bytes;
  Py_ssize_t size;
  if (!PyArg_ParseTuple(given, "(OOO)(OOOOOOOO)y#OO!:remember", &tensors[0], &tensors[1], &tensors[2], &options[0],
                        &options[1], &options[2], &options[3], &options[4], &options[5], &options[6], &options[7],
                        &bytes, &size, &new_output, &PyTuple_Type, &new_arguments))
    return nullptr;
  if (size != sizeof(flashcore_attention_args))
    return PyErr_Format(PyExc_ValueError, "args has %zd bytes; allowed: %zu, those of flashcore_attention_args", size,
                        sizeof(flashcore_attention_args));
  Calls &calls = calls_of(self);
  Signature signature;
  Addresses addresses;
  const Seen seen = calls.closed ? Seen::no : sign(tensors, signature, addresses);
  if (seen == Seen::failed) return nullptr;
  if (seen == Seen::no) Py_RETURN_FALSE;
  const bool known = find(calls, signature, options) != nullptr;  // another thread was quicker
  if (PyErr_Occurred()) return nullptr;
  if (known || calls.closed) Py_RETURN_TRUE;
  try {
    auto made = std::make_shared<Prepared>();
    for (int i = 0; i < option_count; ++i) made->options[i] = Object::share(options[i]);
    made->new_output = Object::share(new_output);
    made->new_arguments = Object::share(new_arguments);
    std::memcpy(&made->args, bytes, sizeof(made->args));
    if (calls.count >= most_calls) drop_all(calls);
    std::shared_ptr<const Prepared> &first = calls.prepared[signature];
    made->next = first;
    first = std::move(made);
    ++calls.count;
  } catch (const std::bad_alloc &) {
    return PyErr_NoMemory();
  }
  Py_RETURN_TRUE;
}

PyObject *close(PyObject *self, PyObject *) {
  calls_of(self).closed = true;
  drop_all(calls_of(self));
  Py_RETURN_NONE;
}

PyObject *set_default(PyObject *self, PyObject *) {
  const dlpack::Device device = calls_of(self).device;
  try {
    for (auto &[its_device, calls] : defaults)
      if (its_device == device) {
        Object replaced(std::exchange(calls, Object::share(self).release()));
        Py_RETURN_NONE;
      }
    defaults.emplace_back(device, self);
  } catch (const std::bad_alloc &) {
    return PyErr_NoMemory();
  }
  Py_INCREF(self);
  Py_RETURN_NONE;
}

// ---- The type and the module ----------------------------------------------------------------------------------------

PyObject *make(PyTypeObject *type, PyObject *given, PyObject *) {
  PyObject *native;
  unsigned long long function, context;
  dlpack::Device device;
  if (!PyArg_ParseTuple(given, "OKKii:Calls", &native, &function, &context, &device.type, &device.ordinal))
    return nullptr;
  if (!pytorch.exchange) return PyErr_Format(PyExc_RuntimeError, "configure() comes first");
  Object self(reinterpret_cast<allocfunc>(PyType_GetSlot(type, Py_tp_alloc))(type, 0));
  if (!self) return nullptr;
  auto *calls = new (std::nothrow) Calls{reinterpret_cast<AttentionFwd>(function),
                                         reinterpret_cast<flashcore_context>(context),
                                         device,
                                         Object::share(native),
                                         {}};
  if (!calls) return PyErr_NoMemory();
  reinterpret_cast<CallsObject *>(self.get())->calls = calls;
  return self.release();
}

void destroy(PyObject *self) {
  delete reinterpret_cast<CallsObject *>(self)->calls;
  Object type(reinterpret_cast<PyObject *>(Py_TYPE(self)));  // an object of a heap type holds its type
  reinterpret_cast<freefunc>(PyType_GetSlot(Py_TYPE(self), Py_tp_free))(self);
}

Py_ssize_t length(PyObject *self) { return static_cast<Py_ssize_t>(calls_of(self).count); }

template <typename Function>
void *slot(Function *function) {
  return reinterpret_cast<void *>(function);
}

template <typename Function>
PyCFunction method(Function *function) {
  return reinterpret_cast<PyCFunction>(slot(function));
}

constexpr int fastcall = 0x0080;  // METH_FASTCALL: of the stable ABI since Python 3.10, and the same in 3.9

PyMethodDef methods[] = {
    {"run", method(run), fastcall,
     "run(query, key, value, causal, scale, softcap, window, layout, output_layout, kernel, grouped): the output of the prepared call for such tensors "
     "and options; None where there is none, or where PyTorch must see the call"},
    {"remember", remember, METH_VARARGS,
     "remember(tensors, options, args, new_output, new_arguments): from now on run() does this for such tensors and options. args: the bytes "
     "of a flashcore_attention_args; the addresses in it do not count. False where run() would not take the tensors"},
    {"set_default", set_default, METH_NOARGS,
     "The function run() uses this set for tensors on its device, until the process ends"},
    {"close", close, METH_NOARGS, "Forget all calls, and remember none any more"},
    {nullptr, nullptr, 0, nullptr}};

PyType_Slot type_slots[] = {
    {Py_tp_new, slot(make)},
    {Py_tp_dealloc, slot(destroy)},
    {Py_tp_methods, methods},
    {Py_sq_length, slot(length)},
    {Py_tp_doc,
     const_cast<char *>(
         "Calls(native, attention_fwd, context, device_type, ordinal): the prepared calls of one context; the "
         "device as DLPack numbers it")},
    {0, nullptr}};

PyType_Spec type_spec = {"flashcore._flashcore_torch.Calls", sizeof(CallsObject), 0, Py_TPFLAGS_DEFAULT, type_slots};

PyMethodDef functions[] = {
    {"configure", configure, METH_VARARGS,
     "configure(exchange, Tensor, Parameter, are_gradients_recorded, dispatch_depth, refuse, other_modes=(), forward_ad=None, odd_memory=()): "
     "what to know of PyTorch; ImportError where exchange, torch.Tensor.__dlpack_c_exchange_api__, is missing or of another version"},
    {"run", method(run_default), fastcall,
     "Calls.run of the set that is the default for the query's device; None where there is none"},
    {nullptr, nullptr, 0, nullptr}};

PyModuleDef module_definition = {PyModuleDef_HEAD_INIT,
                                 "_flashcore_torch",
                                 "Prepared calls of flashcore.torch.",
                                 -1,
                                 functions,
                                 nullptr,
                                 nullptr,
                                 nullptr,
                                 nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__flashcore_torch() {
  Object module(PyModule_Create(&module_definition)), type(PyType_FromSpec(&type_spec));
  if (!module || !type || PyModule_AddObject(module.get(), "Calls", type.get()) != 0) return nullptr;
  type.release();  // the module has taken it
  return module.release();
}
