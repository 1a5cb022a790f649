# SPDX-License-Identifier: Apache-2.0
"""Files made from the rows in the code: completion, man page, JSON schema, reference pages.

`python -m docs_build` writes them; `python -m docs_build --check` names those that differ, and
ends with 1. Needs the extra `docs`.
"""
