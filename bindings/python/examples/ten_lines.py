# SPDX-License-Identifier: Apache-2.0
"""The ten-line example: attention over keys that are all alike, so that every output is the mean of the values, 1.5.

usage: ten_lines.py [auto | cpu | cuda | cuda:N]
"""
# [ten lines]
import sys
import numpy
import flashcore

with flashcore.Context(sys.argv[1] if len(sys.argv) > 1 else "auto") as context:
    query = numpy.ones((1, 512, 8, 64), numpy.float16)  # [batch, seqlen, heads, head_dim]
    value = (query * (numpy.arange(512) % 4)[:, None, None]).astype(numpy.float16)
    query, key, value = (context.to_device(array) for array in (query, 0 * query, value))
    output = context.attention(query, key, value).to_numpy()
print(f"{output.mean(dtype=float)} on the {context.device}")
# [end]
sys.exit(0 if (output == 1.5).all() else "every output should be 1.5")
