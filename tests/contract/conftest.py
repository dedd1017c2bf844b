import pytest

pytest.register_assert_rewrite("turnout.testing.contract")
