"""Programs that train with owl, each to be run as ``python -m owl.apps.NAME``.

In a wheel the programs lie beside this file; in a checkout they lie in the folder ``apps`` at its root.
"""

import os.path as _path

_here = _path.dirname(_path.abspath(__file__))
_checkout = _path.join(_path.dirname(_path.dirname(_here)), "apps")
# Asked in this order, a wheel never looks at a stranger's folder `apps` in site-packages.
if not _path.isdir(_path.join(_here, "mnist")) and _path.isdir(_path.join(_checkout, "mnist")):
    __path__ = [_checkout]
