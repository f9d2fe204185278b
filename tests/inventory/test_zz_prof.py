import cProfile, pstats, time, pytest, io
from tests.inventory.test_imports import *
@pytest.mark.django_db
def test_prof():
    rows=[row(f"key {n}", Owner=f"person{n%2500}@example.org", Service=f"s-{n%40}", Created="2026-01-01", Notes="x") for n in range(20000)]
    content=file_of(*rows)
    p=cProfile.Profile(); t=time.process_time(); w=time.monotonic(); p.enable(); bring(content); p.disable()
    print("cpu",time.process_time()-t,"wall",time.monotonic()-w)
    s=io.StringIO(); pstats.Stats(p,stream=s).sort_stats("cumulative").print_stats(45); print(s.getvalue())
    t=time.process_time(); w=time.monotonic(); seal(); print("seal cpu",time.process_time()-t,"wall",time.monotonic()-w)
    rows=[row(f"key {n}", Owner=f"person{n%2500}@example.org", Service=f"s-{n%40}", Created="2026-01-01", Notes="y") for n in range(20000)]
    w=time.monotonic(); print(bring(file_of(*rows)).summary); print("changed wall", time.monotonic()-w)
