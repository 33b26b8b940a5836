# SPDX-License-Identifier: Apache-2.0
"""All tests of the Python binding in one process, for machines without a build tree. Arguments are unittest's."""
import sys
import unittest

import support

if __name__ == "__main__":
    unittest.main(module=None, argv=[sys.argv[0], "discover", "-v", "-s", support.HERE, "-p", "test_*.py", *sys.argv[1:]])
