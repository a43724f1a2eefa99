// Memory of the SoC: 32-bit words, bytes written one by one, two ports that both read and write, for block RAM.
// Read data comes one cycle after `en` and holds. What a port reads while a write goes to the same word, old or new, is
// the block RAM's choice (no_rw_check: else synthesis would build it from registers).
// Starts with the words of the file INIT ($readmemh), in simulation with those of +ram=FILE (binary, each word most
// significant byte first), otherwise as zeros.
module blockcim_ram #(
  parameter WORDS = 1024,
  parameter ADDR = 10,
  parameter INIT = ""
) (
  input wire clk,
  input wire a_en, b_en,
  input wire [3:0] a_we, b_we,
  input wire [ADDR-1:0] a_addr, b_addr,
  input wire [31:0] a_wdata, b_wdata,
  output reg [31:0] a_rdata, b_rdata
);
  (* no_rw_check *)
  reg [31:0] mem [0:WORDS-1];

  initial begin
    a_rdata = 0;
    b_rdata = 0;
  end
`ifdef SYNTHESIS
  initial if (INIT != "") $readmemh(INIT, mem);
`else
  integer i, file;
  reg [8*1024-1:0] name;
  initial begin
    for (i = 0; i < WORDS; i = i + 1) mem[i] = 0;
    if (INIT != "") $readmemh(INIT, mem);
    if ($value$plusargs("ram=%s", name)) begin
      file = $fopen(name, "rb");
      if (file == 0) $display("blockcim_ram: cannot open %0s", name);
      else begin
        i = $fread(mem, file);
        $fclose(file);
      end
    end
  end
`endif

  integer k;
  always @(posedge clk)
    if (a_en) begin
      a_rdata <= mem[a_addr];
      for (k = 0; k < 4; k = k + 1) if (a_we[k]) mem[a_addr][8*k+:8] <= a_wdata[8*k+:8];
    end

  integer l;
  always @(posedge clk)
    if (b_en) begin
      b_rdata <= mem[b_addr];
      for (l = 0; l < 4; l = l + 1) if (b_we[l]) mem[b_addr][8*l+:8] <= b_wdata[8*l+:8];
    end
endmodule
