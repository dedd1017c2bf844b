from tests.simulation.simulation import Simulation
import sys, time
t=time.perf_counter()
bad=0
a,b=int(sys.argv[1]),int(sys.argv[2])
for s in range(a,b):
    r=Simulation(s).run()
    if r.problems:
        bad+=1
        print(s, r.problems[:3])
print(bad, b-a, time.perf_counter()-t)
