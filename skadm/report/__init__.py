"""Reports to look at: a page for each patient and one for the cohort, in plain HTML.

Each page is one file that needs nothing else: pictures, styles and the viewer are inside,
and a browser is forbidden to load anything. `examine` scores a volume and finds its
suspicious regions, `patient_page` and `cohort_page` write what was found as HTML.
"""

from skadm.report._configuration import describe_model
from skadm.report._examine import examine
from skadm.report._pages import cohort_page, patient_page

__all__ = [
    "cohort_page",
    "describe_model",
    "examine",
    "patient_page",
]
