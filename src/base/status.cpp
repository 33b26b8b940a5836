// SPDX-License-Identifier: Apache-2.0
#include "flashcore/flashcore_status.h"

#include "flashcore/flashcore.h"

// Both getters belong to the public interface but know nothing above this floor: they are the status list, spelled out.

extern "C" const char *flashcore_status_name(flashcore_status status) {
  switch (status) {
#define FLASHCORE_STATUS_NAME(name, number, sentence) \
  case number:                                        \
    return #name;
    FLASHCORE_STATUS_LIST(FLASHCORE_STATUS_NAME)
#undef FLASHCORE_STATUS_NAME
    default:
      return "UNKNOWN";
  }
}

extern "C" const char *flashcore_status_sentence(flashcore_status status) {
  switch (status) {
#define FLASHCORE_STATUS_SENTENCE(name, number, sentence) \
  case number:                                            \
    return sentence;
    FLASHCORE_STATUS_LIST(FLASHCORE_STATUS_SENTENCE)
#undef FLASHCORE_STATUS_SENTENCE
    default:
      return "the number is no flashcore status";
  }
}
