// SPDX-License-Identifier: Apache-2.0
#include "driver/cuda_error.hpp"

#include "driver/fork_guard.hpp"

namespace flashcore {
namespace {

struct Meaning {
  int32_t code;
  flashcore_status while_opening;
  flashcore_status while_working;
  const char *advice;
};

// Numbers, not enumerators: some are younger than the oldest header that this must compile with.
constexpr Meaning meanings[] = {
    {1, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR,
     "The driver refused an argument: check that the stream and every address belong to the context's device."},
    {2, FLASHCORE_OUT_OF_DEVICE_MEMORY, FLASHCORE_OUT_OF_DEVICE_MEMORY,
     "The device has no memory left for this; nvidia-smi shows which processes hold it."},
    {3, FLASHCORE_FORKED, FLASHCORE_CUDA_ERROR,
     "CUDA cannot start in a process that was forked from one that had already started it: create the process "
     "with exec (multiprocessing: the spawn method), or fork before the first use of CUDA."},
    {4, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR,
     "The process is exiting and the driver has shut down: finish CUDA work before."},
    {34, FLASHCORE_NO_DRIVER, FLASHCORE_CUDA_ERROR,
     "This library is the link-time stub of the CUDA toolkit, not a driver: take the toolkit's stubs folder out "
     "of LD_LIBRARY_PATH and install the NVIDIA driver."},
    {36, FLASHCORE_DRIVER_TOO_OLD, FLASHCORE_CUDA_ERROR, "Install a newer NVIDIA driver."},
    {46, FLASHCORE_DEVICE_NOT_READY, FLASHCORE_CUDA_ERROR,
     "Another process holds the device for itself (compute mode exclusive), or it is shutting down: wait, or "
     "choose another device."},
    {100, FLASHCORE_NO_DEVICE, FLASHCORE_CUDA_ERROR,
     "The driver shows this process no GPU: check nvidia-smi, the environment variable CUDA_VISIBLE_DEVICES, and "
     "in a container that the GPU was passed in."},
    {101, FLASHCORE_NO_DEVICE, FLASHCORE_CUDA_ERROR,
     "The device does not exist for this process: check nvidia-smi and the environment variable CUDA_VISIBLE_DEVICES."},
    {200, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR,
     "The module is damaged or no cubin: remove it from the module cache."},
    {201, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR,
     "The CUDA context was destroyed, or it belongs to another device than the flashcore context."},
    {209, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR,
     "The module holds no kernel image for this device: it was compiled for another architecture, or by a CUDA "
     "toolkit newer than the driver."},
    {214, FLASHCORE_CONTEXT_LOST, FLASHCORE_CONTEXT_LOST,
     "The device met a memory error that it cannot correct: restart the process; if it returns, the board is failing."},
    {218, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR, "The driver could not read the module."},
    {220, FLASHCORE_CONTEXT_LOST, FLASHCORE_CONTEXT_LOST,
     "The NVLink connection failed: restart the process; if it returns, check the machine."},
    {222, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR,
     "The module was made by a CUDA toolkit newer than the driver: update the driver or use an older NVRTC."},
    {226, FLASHCORE_CONTEXT_LOST, FLASHCORE_CONTEXT_LOST,
     "The device met an error that it contained to this process: restart the process."},
    {304, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR,
     "A call of the operating system failed in the driver: check that /dev/nvidia* exist and may be opened, and "
     "the limits on memory and files."},
    {400, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR,
     "A stream or event is none, or of another CUDA context than the device's primary one, which this library works in."},
    {500, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR, "The module lacks the kernel: remove it from the module cache."},
    {600, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR, "Work on the device has not finished: synchronise first."},
    {700, FLASHCORE_CONTEXT_LOST, FLASHCORE_CONTEXT_LOST,
     "A kernel touched memory that is not its own, in this call or an earlier one of any library: restart the "
     "process; compute-sanitizer names the kernel."},
    {701, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR,
     "The launch needs more registers or threads than the device gives one block."},
    {702, FLASHCORE_CONTEXT_LOST, FLASHCORE_CONTEXT_LOST,
     "A kernel ran longer than the display's time limit: restart the process."},
    {709, FLASHCORE_CONTEXT_LOST, FLASHCORE_CONTEXT_LOST,
     "Someone destroyed or reset the CUDA context: create a new flashcore context."},
    {710, FLASHCORE_CONTEXT_LOST, FLASHCORE_CONTEXT_LOST, "An assertion in a kernel failed: restart the process."},
    {714, FLASHCORE_CONTEXT_LOST, FLASHCORE_CONTEXT_LOST, "A kernel broke its stack: restart the process."},
    {715, FLASHCORE_CONTEXT_LOST, FLASHCORE_CONTEXT_LOST,
     "A kernel met an instruction that the device does not know: restart the process."},
    {716, FLASHCORE_CONTEXT_LOST, FLASHCORE_CONTEXT_LOST,
     "A kernel used a misaligned address: restart the process; check the alignment of the tensors."},
    {717, FLASHCORE_CONTEXT_LOST, FLASHCORE_CONTEXT_LOST,
     "A kernel used an address of the wrong kind: restart the process."},
    {718, FLASHCORE_CONTEXT_LOST, FLASHCORE_CONTEXT_LOST, "A kernel jumped to a wrong address: restart the process."},
    {719, FLASHCORE_CONTEXT_LOST, FLASHCORE_CONTEXT_LOST,
     "A kernel failed while it ran, in this call or an earlier one of any library: restart the process; "
     "compute-sanitizer names the kernel."},
    {721, FLASHCORE_CONTEXT_LOST, FLASHCORE_CONTEXT_LOST,
     "A kernel did not give back its tensor memory: restart the process."},
    {800, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR,
     "The driver forbids this, for example while a stream is being captured."},
    {802, FLASHCORE_DEVICE_NOT_READY, FLASHCORE_CUDA_ERROR,
     "The system is not ready for CUDA yet: on machines with NVSwitch the service nvidia-fabricmanager must be "
     "running; else try again in a moment."},
    {803, FLASHCORE_DEVICE_NOT_READY, FLASHCORE_CUDA_ERROR,
     "libcuda and the kernel module are of different driver versions, as after an update without a restart: "
     "restart the machine or reload the module; in a container, take its own libcuda off the search path."},
    {804, FLASHCORE_DRIVER_TOO_OLD, FLASHCORE_CUDA_ERROR,
     "A forward-compatibility package (cuda-compat) is in front of the driver, and this GPU does not support it: "
     "remove the package from LD_LIBRARY_PATH or install a newer driver."},
    {805, FLASHCORE_DEVICE_NOT_READY, FLASHCORE_CUDA_ERROR,
     "The MPS control daemon does not answer: start it or unset CUDA_MPS_PIPE_DIRECTORY."},
    {806, FLASHCORE_DEVICE_NOT_READY, FLASHCORE_CUDA_ERROR, "The MPS server failed: restart it."},
    {807, FLASHCORE_DEVICE_NOT_READY, FLASHCORE_CUDA_ERROR, "The MPS server is not ready: try again in a moment."},
    {808, FLASHCORE_DEVICE_NOT_READY, FLASHCORE_CUDA_ERROR, "The MPS server has no room for another client."},
    {809, FLASHCORE_DEVICE_NOT_READY, FLASHCORE_CUDA_ERROR, "The device has no room for another MPS connection."},
    {810, FLASHCORE_CONTEXT_LOST, FLASHCORE_CONTEXT_LOST, "The MPS server ended this client: restart the process."},
    {900, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR,
     "The stream is being captured, and this is not possible in a capture: do it before."},
    {901, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR,
     "An earlier call broke the capture of this stream: end it and begin again."},
    {904, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR,
     "The capture has work on a stream that did not join the first one."},
    {906, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR,
     "Another stream is being captured, and the default stream waits for it: pass a stream of your own."},
    {999, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR,
     "The driver does not say more. On the first use of CUDA this is often a missing kernel module (nvidia_uvm) "
     "or device file: check nvidia-smi, or restart the machine."},
};

const Meaning *find_meaning(int32_t code) {
  for (const Meaning &meaning : meanings)
    if (meaning.code == code) return &meaning;
  return nullptr;
}

std::string error_name(const CudaFunctionTable *functions, CUresult result) {
  const char *name = nullptr;
  if (functions != nullptr && functions->get_error_name != nullptr &&
      functions->get_error_name(result, &name) == CUDA_SUCCESS && name != nullptr)
    return name;
  return "CUresult";
}

}  // namespace

Error forked_error() {
  return Error{FLASHCORE_FORKED,
               "this process was forked after CUDA was initialised in its parent, and CUDA does not survive a "
               "fork. Create the process with exec (multiprocessing: the spawn method), or fork before the first "
               "use of CUDA."};
}

Error cuda_error(const CudaFunctionTable *functions, CUresult result, const char *call, CudaStage stage) {
  const auto code = static_cast<int32_t>(result);
  if (fork_guard::forked()) {
    Error error = forked_error();
    error.driver_code = code;
    return error;
  }
  const Meaning *meaning = find_meaning(code);
  Error error;
  error.status = FLASHCORE_CUDA_ERROR;
  error.driver_code = code;
  error.message =
      std::string(call) + " failed with " + error_name(functions, result) + " (" + std::to_string(code) + ").";
  if (meaning == nullptr) return error;
  error.status = stage == CudaStage::opening ? meaning->while_opening : meaning->while_working;
  error.message += std::string(" ") + meaning->advice;
  return error;
}

}  // namespace flashcore
