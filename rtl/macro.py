import re
from pathlib import Path
from rtl.spec.params import Params, clog2
MODULE = "blockcim_macro"
def field(things): return max(1, clog2(things))
def macro_ports(p):
    gw = field(p.row_groups)
    result = [("in","id",10)]
    for k in range(1+p.drain_ports):
        result += [("in",f"fill{k}_valid",p.slots),("in",f"fill{k}_group",p.slots*gw),("in",f"fill{k}_mask",p.lanes),("in",f"fill{k}_data",p.word_bits)]
    result += [("in","fill_bank",1),("in","pass_en",1),("in","pass_plane",field(p.planes)),("in","pass_clear",1),("in","pass_bank",1),("in","acc_bank",1),("in","pass_mask",p.col_groups)]
    result += [("in","pass_sel",p.col_groups*gw)] if p.tree=="shared" else [("in","pass_rows",p.col_groups*p.row_groups)]
    result += [("in","w_en",1),("in","w_row",clog2(p.rows)),("in","w_group",field(p.col_groups)),("in","w_data",p.granule*p.weight_bits)]
    lanes32=p.slots*p.col_groups*32
    result += [("in","drain_en",1),("in","drain_col",field(p.granule)),("in","drain_pieces",clog2(p.slots+1)),("in","drain_bank",1),("in","drain_add",1),("in","chain_in",lanes32),("out","q",lanes32)]
    return result
def behavioural_verilog(p, view=None):
    t = view or (Path(__file__).parent/"views/macro_behavioural.v").read_text()
    t = re.sub(r"^ *// @each fill port@\n(.*?)^ *// @end@\n", lambda m:"".join(m[1].replace("@K@",str(k)) for k in range(1+p.drain_ports)), t, flags=re.M|re.S)
    decl = ["  input wire clk","  input wire rst"]+[f"  {'input wire' if d=='in' else 'output reg'} [{w-1}:0] {n}" for d,n,w in macro_ports(p)]
    G,H,B=p.row_groups,p.col_groups,p.granule
    v=dict(PORTS=",\n".join(decl),G=G,H=H,B=B,S=p.slots,AB=p.act_bits,WB=p.weight_bits,GW=field(G),ACC=p.acc_bits,LAST=p.planes-1,
      ROWS_DEPTH=1<<clog2(p.rows*H),GROUPS_DEPTH=1<<clog2(2*H),WEIGHT_DEPTH=1<<clog2(p.rows*p.cols),ROW_DEPTH=1<<clog2(2*G),ACC_DEPTH=1<<clog2(2*H*B),X_DEPTH=1<<clog2(B),
      USED="1 << pass_sel[h * GW +: GW]" if p.tree=="shared" else "pass_rows[h * G +: G]")
    return re.sub(r"@(\w+)@", lambda m:str(v[m[1]]), t)
